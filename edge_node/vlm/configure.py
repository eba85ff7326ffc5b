"""Which model answers at a site, from a small YAML file, and opening it.

In: the file that `FOVEATE_EDGE_VLM` names. Out: a `Config`, or InvalidInput with the key at fault; an open `Vlm`. A
key for a server is read from a file or a variable when it is needed, and stands in no `Config`, log or error. Next:
`openai_compatible.py` or `in_process.py`; `edge_node/build.py` puts the model behind the gate.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx

from edge_node import thresholds
from edge_node.compress.plan import Resolution
from edge_node.compress.price import FixedTokens, PatchTokens, TokenRule
from edge_node.gate import MOST_THINKING
from edge_node.show import Allowance
from edge_node.thresholds import Thresholds
from edge_node.vlm.chat_format import Continues, Held, Manner
from edge_node.vlm.openai_compatible import Limits, OpenAiCompatible
from edge_node.vlm.seam import Vlm
from edge_node.vlm.strict import Row
from foveate import document
from foveate.errors import NotReady, NotSupported
from foveate.messages import Place, Task

Kind = Literal["openai", "transformers", "embedded"]

_KINDS = ("openai", "transformers", "embedded")
_COMMON = (
    "kind",
    "model",
    "revision",
    "sees",
    "timeout_s",
    "at_once",
    "waiting",
    "pictures",
    "gate",
    "calibration",
    "most_thinking",
)
_OPENAI = (
    "url",
    "key_file",
    "key_env",
    "ca_file",
    "response_format",
    "continues",
    "log_probs",
    "region",
    "site",
    "prices",
)
_TRANSFORMERS = ("path", "quantisation", "cache", "device", "prices")
_LONGEST_KEY = 4096
_TIMEOUT = httpx.Timeout(None, connect=5.0)  # the caller ends what takes too long


@dataclass(frozen=True, slots=True)
class Server:
    """Where an OpenAI-compatible server is, and how it wants to be asked; `place` empty is outside of all areas."""

    url: str
    manner: Manner
    place: Place = field(default_factory=Place)
    key_file: Path | None = None
    key_env: str = ""
    ca_file: Path | None = None
    """Certificates (PEM) to trust instead of the public ones, for a server with the fleet's own."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that run in this process, by `transformers`: a folder, and what the model is squeezed to."""

    path: Path
    quantisation: str = "none"
    cache: str = "none"
    device: str = "cpu"

    @property
    def squeezed(self) -> str:
        """What is added to the revision, such as +w4a16+kv-int8; empty at full precision."""
        weights = "" if self.quantisation == "none" else f"+{self.quantisation}"
        return weights + ("" if self.cache == "none" else f"+kv-{self.cache}")


@dataclass(frozen=True, slots=True)
class Config:
    """The model of one site; `server` or `weights` by its kind, neither for the embedded default, which is no VLM."""

    kind: Kind
    model: str = ""
    revision: str = "unstated"
    sees: bool = True
    limits: Limits = field(default_factory=Limits)
    allowance: Allowance = field(default_factory=Allowance)
    thresholds: Thresholds = field(default_factory=Thresholds)
    prices: Mapping[str, float] = field(default_factory=dict)
    most_thinking: int = MOST_THINKING
    server: Server | None = None
    weights: Weights | None = None

    @property
    def tag(self) -> str:
        """`model@revision`; weights or a cache of fewer bits are another model to whoever calibrates them."""
        return f"{self.model}@{self.revision}{self.weights.squeezed if self.weights else ''}"


EMBEDDED = Config("embedded")


@dataclass(frozen=True, slots=True)
class Opened:
    """The model of a site, ready to be asked, and what was said of it."""

    vlm: Vlm
    config: Config


def load(path: Path) -> Config:
    """The configuration in a file; paths in it are relative to its folder."""
    return parse(document.read(path, what="model configuration"), folder=path.absolute().parent)


def parse(written: Mapping[str, Any], *, folder: Path) -> Config:
    """The configuration that a mapping holds; InvalidInput names the key at fault and what may stand there."""
    row = Row(written, "")
    kind = row.one_of("kind", _KINDS)
    if kind == "embedded":
        row.only("kind")
        return EMBEDDED
    row.only(*_COMMON, *(_OPENAI if kind == "openai" else _TRANSFORMERS))
    weights = _weights(row, folder) if kind == "transformers" else None
    return Config(
        kind=cast("Kind", kind),
        model=row.name("model"),
        revision=row.name("revision", "unstated"),
        sees=row.yes("sees", True),
        limits=Limits(
            timeout_s=row.number("timeout_s", 60.0, least=0.1, most=3600.0),
            at_once=int(row.number("at_once", 2, least=1, most=256, whole=True)),
            waiting=int(row.number("waiting", 8, least=0, most=4096, whole=True)),
        ),
        allowance=_allowance(row.below("pictures")),
        thresholds=_thresholds(row, folder),
        prices=_prices(row.below("prices")),
        most_thinking=int(row.number("most_thinking", MOST_THINKING, least=16, most=4096, whole=True)),
        server=_server(row, folder) if kind == "openai" else None,
        weights=weights,
    )


@asynccontextmanager
async def open_vlm(config: Config) -> AsyncIterator[Vlm]:
    """The model for the length of the block; NotSupported for the embedded default, which is none.

    NotReady when a package or weights are missing. A server is not asked until somebody asks.
    """
    if config.server is not None:
        async with await asyncio.to_thread(_client, config.server) as client:
            yield OpenAiCompatible(
                client=client,
                url=config.server.url,
                manner=config.server.manner,
                tag=config.tag,
                sees=config.sees,
                limits=config.limits,
                key=key_of(config.server),
            )
    elif config.weights is not None:
        model = await asyncio.to_thread(_in_process, config)
        try:
            yield model
        finally:
            model.close()
    else:
        raise NotSupported("The embedded default is no vision-language model; name one in the configuration.")


@asynccontextmanager
async def of_site(path: Path | None) -> AsyncIterator[Opened | None]:
    """What the file names for the length of the block; None for no file and for the embedded default."""
    config = EMBEDDED if path is None else await asyncio.to_thread(load, path)
    if config == EMBEDDED:
        yield None
        return
    async with open_vlm(config) as vlm:
        yield Opened(vlm, config)


def key_of(server: Server) -> Callable[[], str]:
    """Reads the key when it is called, so that a changed one counts at once; its errors tell nothing of it."""

    def read() -> str:
        if server.key_env:
            text, where = os.environ.get(server.key_env, ""), f"variable {server.key_env}"
        elif server.key_file is not None:
            where = f"file {server.key_file}"
            try:
                text = server.key_file.read_text(encoding="utf-8")[: _LONGEST_KEY + 1]
            except (OSError, UnicodeDecodeError):
                raise NotReady(f"The key {where} cannot be read; put the model server's key there.") from None
        else:
            return ""
        key = text.strip()
        if not key or len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            raise NotReady(f"The key {where} holds no key on one line; put the model server's key there.")
        return key

    return read


def _client(server: Server) -> httpx.AsyncClient:
    """Reads certificates; blocking."""
    try:
        trusted = ssl.create_default_context(cafile=server.ca_file)
    except (OSError, ssl.SSLError):
        message = f"The certificates {server.ca_file} cannot be read; put a PEM file there."
        raise NotReady(message, path=str(server.ca_file)) from None
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its line for each request says less than ours
    # Proxies of the environment would see footage that no rule let them see; redirects likewise.
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, verify=trusted, timeout=_TIMEOUT)


def _in_process(config: Config) -> Any:  # noqa: ANN401  a Vlm that is closed; typed where torch is
    try:
        in_process = importlib.import_module("edge_node.vlm.in_process")  # it needs the extra `vlm`
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed; run `pip install foveate[vlm]` for models in this process."
        raise NotReady(message, reason="EXTRA_MISSING") from error
    return in_process.open_model(config)


def _server(row: Row, folder: Path) -> Server:
    url = row.text("url")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise row.bad("url", url, "a URL with the version, such as http://gpu-1:8000/v1")
    if parts.username or parts.password:
        raise row.bad("url", "a URL with a password in it", "the URL alone; put the key into key_file")
    if "key_file" in row.written and "key_env" in row.written:
        raise row.bad("key_env", "given beside key_file", "one of the two")
    env = row.text("key_env", "")
    if env and not re.fullmatch(r"[A-Za-z_]\w*", env):
        # Somebody may have put the key itself there: it is not repeated.
        raise row.bad("key_env", "no name of a variable", "the variable's name, not the key")
    file, trusted = row.text("key_file", ""), row.text("ca_file", "")
    manner = Manner(
        model=row.name("model"),
        held=cast("Held", row.one_of("response_format", ("json_schema", "json_object", "none"), "json_schema")),
        continues=cast("Continues", row.one_of("continues", ("turn", "prefill"), "turn")),
        log_probs=row.yes("log_probs", True),
    )
    place = Place(row.text("region", ""), row.text("site", ""))
    key_file, ca_file = (folder / name if name else None for name in (file, trusted))
    return Server(url, manner, place, key_file, env, ca_file)


def _weights(row: Row, folder: Path) -> Weights:
    return Weights(
        path=folder / row.text("path"),
        quantisation=row.one_of("quantisation", ("none", "w8a8", "w4a16"), "none"),
        cache=row.one_of("cache", ("none", "int4", "int8", "fp8"), "none"),
        device=row.text("device", "cpu"),
    )


def _allowance(row: Row) -> Allowance:
    row.only("budget", "patch", "tokens_each", "side", "full", "low")
    rule: TokenRule = PatchTokens(int(row.number("patch", 28, least=1, most=256, whole=True)))
    if "tokens_each" in row.written:
        if "patch" in row.written:
            raise row.bad("patch", "given beside tokens_each", "one of the two")
        each = int(row.number("tokens_each", least=1, most=65536, whole=True))
        rule = FixedTokens(each, int(row.number("side", 512, least=1, most=8192, whole=True)))
    default = Resolution()
    full = int(row.number("full", default.full, least=1, most=65536, whole=True))
    low = int(row.number("low", min(full, default.low), least=1, most=full, whole=True))
    budget = int(row.number("budget", Allowance().budget, least=rule.cheapest, most=1e6, whole=True))
    return Allowance(budget, rule, Resolution(full, low))


def _thresholds(row: Row, folder: Path) -> Thresholds:
    by_hand = row.below("gate")
    by_hand.only(*(task.value for task in Task))
    file = row.text("calibration", "")
    return Thresholds(
        bars=thresholds.load(folder / file) if file else {},
        defaults={Task(name): by_hand.number(name, least=0.0, most=1.0) for name in by_hand.written},
    )


def _prices(row: Row) -> dict[str, float]:
    """US dollars for a million tokens."""
    row.only("prompt", "written")
    return {name: row.number(name, least=0.0, most=1e6) for name in row.written}
