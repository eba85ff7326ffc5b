"""Who is who, without a server to ask: nkeys (Ed25519) and NATS decentralised JWTs.

In come key pairs, names and the subjects that a party may use; out go signed JWTs, `.creds` texts and checked
`Claims`. It knows no socket, no NATS server and no registry. The servers' files are written by
`foveate.cli.nats_servers`; a device makes its own key and the cloud's enrolment signs for it.
Format: github.com/nats-io/jwt, version 2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import time
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import nkeys
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from foveate import subjects
from foveate.errors import InvalidInput, NotPermitted

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_OWN_STREAMS = ("$JS.API.>", "$JS.ACK.>", "$JS.FC.>")
_RESPONSES = 64  # a streamed answer is several replies to one request
_LEEWAY = 5.0  # seconds by which two honest clocks on one site may differ


class Role(IntEnum):
    """What a key is for; the value is the prefix byte that NATS gives its public half."""

    OPERATOR = nkeys.PREFIX_BYTE_OPERATOR
    ACCOUNT = nkeys.PREFIX_BYTE_ACCOUNT
    USER = nkeys.PREFIX_BYTE_USER


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One nkey: `public` may be told to anyone, `seed` stays where it was made and out of every log."""

    public: str
    seed: str = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `data`."""
        signature: bytes = nkeys.from_seed(self.seed.encode()).sign(data)
        return signature


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that a user may publish and subscribe; `responses` replies to each request it received."""

    publish_allow: tuple[str, ...] = ()
    publish_deny: tuple[str, ...] = ()
    subscribe_allow: tuple[str, ...] = ()
    subscribe_deny: tuple[str, ...] = ()
    responses: int = 0
    response_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified JWT says; `expires` is Unix seconds, None for never."""

    name: str
    subject: str
    issuer: str
    kind: str
    issued: int
    expires: int | None
    nats: dict[str, Any]


def make_key(role: Role) -> KeyPair:
    """A new key pair from the operating system's randomness."""
    return key_from_seed(nkeys.encode_seed(secrets.token_bytes(32), role).decode())


def key_from_seed(seed: str) -> KeyPair:
    """The key pair of a stored seed; raises InvalidInput when the text is no nkey seed."""
    try:
        pair = nkeys.from_seed(seed.strip().encode())
        public: bytes = pair.public_key
    except (nkeys.NkeysError, ValueError) as error:
        raise InvalidInput("The seed is not an nkey; enrol again to make a new one.") from error
    return KeyPair(public=public.decode(), seed=seed.strip())


def load_or_make_key(path: Path, role: Role) -> KeyPair:
    """The key in `path`, made and written (mode 0600) the first time; a restart keeps its identity."""
    if path.exists():
        return key_from_seed(path.read_text(encoding="ascii"))
    pair = make_key(role)
    write_secret(path, pair.seed)
    return pair


def operator_jwt(operator: KeyPair, *, name: str, system_account: str) -> str:
    """The self-signed root of trust that every server is given; `system_account` is a public account key."""
    return _signed(
        operator, name=name, subject=operator.public, kind="operator", nats={"system_account": system_account}
    )


def account_jwt(operator: KeyPair, *, account: str, name: str, jetstream: bool = True) -> str:
    """An account signed by the operator; with `jetstream`, only the server's own limits bound its storage."""
    storage = -1 if jetstream else 0
    limits: dict[str, object] = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    limits |= dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), storage)
    limits["wildcards"] = True
    nats = {"limits": limits, "default_permissions": {"pub": {}, "sub": {}}}
    return _signed(operator, name=name, subject=account, kind="account", nats=nats)


def user_jwt(account: KeyPair, *, user: str, name: str, permissions: Permissions, expires: float | None = None) -> str:
    """A user of `account` (its key signs) with exactly `permissions`; `expires` is Unix seconds or None.

    An empty allow list would mean "everything" to NATS, so a side without rights is denied `>` instead.
    """
    nats: dict[str, object] = {
        "pub": _side(permissions.publish_allow, permissions.publish_deny),
        "sub": _side(permissions.subscribe_allow, permissions.subscribe_deny),
        "subs": -1,
        "data": -1,
        "payload": -1,
    }
    if permissions.responses:
        nats["resp"] = {"max": permissions.responses, "ttl": int(permissions.response_seconds * 1e9)}
    return _signed(account, name=name, subject=user, kind="user", nats=nats, expires=expires)


def verify(jwt: str, *, issuer: str | None = None, now: float | None = None) -> Claims:
    """The claims of `jwt` after its signature, issuer (if given) and expiry were checked, all offline.

    Raises InvalidInput for text that is no NATS JWT and NotPermitted for one that must not be trusted.
    """
    try:
        head, body, signature = jwt.strip().split(".")
        header, claims = json.loads(_unbase64(head)), json.loads(_unbase64(body))
        key = VerifyKey(_raw_public(str(claims["iss"])))
        found = _claims(claims)
        signed = _unbase64(signature)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InvalidInput("The credential is not a NATS JWT; enrol again to get a new one.") from error
    if header != _HEADER:
        raise NotPermitted("The credential names another signature algorithm; enrol again.", reason="BAD_ALGORITHM")
    try:
        key.verify(f"{head}.{body}".encode(), signed)
    except (BadSignatureError, ValueError) as error:
        raise NotPermitted("The credential's signature is wrong; enrol again.", reason="BAD_SIGNATURE") from error
    _check_trust(found, issuer=issuer, now=time.time() if now is None else now)
    return found


def device_permissions(site: str, device: str) -> Permissions:
    """A device speaks only of itself, hears only what is asked of it, and may answer that."""
    return Permissions(
        publish_allow=(subjects.event(site, device), subjects.presence(site, device)),
        subscribe_allow=(
            subjects.device_ask(site, device),
            subjects.device_clip(site, device),
            subjects.device_command(site, device),
            f"{subjects.device_inbox(device)}.>",
        ),
        responses=_RESPONSES,
    )


def edge_local_permissions() -> Permissions:
    """The edge node rules its site's LOCAL account: its streams and its devices."""
    everything = (f"{subjects.ROOT}.>",)
    return Permissions(
        publish_allow=everything + _OWN_STREAMS,
        subscribe_allow=(*everything, "_INBOX.>"),
        responses=_RESPONSES,
    )


def edge_bridged_permissions(site: str) -> Permissions:
    """The edge node in the bridged account: what it lets out, and the router's requests to its site."""
    return Permissions(
        publish_allow=(subjects.out_all(site), *_OWN_STREAMS),
        subscribe_allow=(f"{subjects.ROOT}.site.{site}.>", "_INBOX.>"),
        responses=_RESPONSES,
    )


def leaf_permissions(site: str) -> Permissions:
    """What a site's leaf link may carry, seen from the hub, which enforces it.

    Towards the hub: heartbeats, replies, and the hub's own sourcing of the site's streams (`$JS.S`, `$JSC.R`:
    random names that the hub chose and nobody can list). From the hub: the router's requests to this site, the API
    of this site's JetStream domain and flow control. Another site's subjects pass in neither direction.
    """
    return Permissions(
        publish_allow=(subjects.out_presence(site), "_INBOX.>", "$JS.S.*", "$JSC.R.*", "$JS.FC.>"),
        subscribe_allow=(
            f"{subjects.ROOT}.site.{site}.>",
            f"$JS.{subjects.domain(site)}.API.>",
            "$JS.ACK.>",
            "$JS.FC.>",
        ),
    )


def hub_permissions() -> Permissions:
    """A service at the hub (cloud or router): every site's outlet and its requests."""
    everything = (f"{subjects.ROOT}.>",)
    return Permissions(
        publish_allow=everything + _OWN_STREAMS,
        subscribe_allow=(*everything, "_INBOX.>"),
        responses=_RESPONSES,
    )


def checked_public_key(public: str, role: Role) -> str:
    """The public key itself when it is an nkey of that role; else InvalidInput."""
    try:
        _raw_public(public)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput("That is no nkey; give the public half of the key, as it was made.") from error
    letter = role.name[0]
    if not public.startswith(letter):
        raise InvalidInput(f"That nkey is not of a {role.name.lower()}; give the one that starts with {letter}.")
    return public


def credentials_file(jwt: str, seed: str) -> str:
    """The text of a `.creds` file, which every NATS client and leaf remote reads."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


def parse_credentials(text: str) -> tuple[str, KeyPair]:
    """The JWT and the key pair of a `.creds` text; raises InvalidInput when either is missing."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("-")]
    if len(lines) != 2:
        raise InvalidInput("The credentials file does not hold one JWT and one seed; enrol again.")
    return lines[0], key_from_seed(lines[1])


def write_secret(path: Path, text: str) -> None:
    """Replace `path` by `text` at once and readable by its owner only (0600), on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _signed(
    signer: KeyPair,
    *,
    name: str,
    subject: str,
    kind: str,
    nats: dict[str, object],
    expires: float | None = None,
) -> str:
    claims: dict[str, object] = {
        "iat": int(time.time()),
        "iss": signer.public,
        "name": name,
        "sub": subject,
        "nats": nats | {"type": kind, "version": 2},
    }
    if expires is not None:
        claims["exp"] = int(expires)
    digest = hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    text = f"{_base64(json.dumps(_HEADER))}.{_base64(json.dumps(claims))}"
    return f"{text}.{base64.urlsafe_b64encode(signer.sign(text.encode())).decode().rstrip('=')}"


def _side(allow: tuple[str, ...], deny: tuple[str, ...]) -> dict[str, list[str]]:
    if not allow:
        return {"deny": [">"]}
    return {"allow": list(allow)} | ({"deny": list(deny)} if deny else {})


def _claims(claims: dict[str, Any]) -> Claims:
    nats = dict(claims["nats"])
    expires = claims.get("exp")
    return Claims(
        name=str(claims["name"]),
        subject=str(claims["sub"]),
        issuer=str(claims["iss"]),
        kind=str(nats["type"]),
        issued=int(claims["iat"]),
        expires=None if expires is None else int(expires),
        nats=nats,
    )


def _check_trust(claims: Claims, *, issuer: str | None, now: float) -> None:
    if issuer is not None and claims.issuer != issuer:
        raise NotPermitted("The credential was signed by someone else; enrol here again.", reason="BAD_ISSUER")
    if claims.issuer[0] != {"operator": "O", "account": "O", "user": "A"}.get(claims.kind):
        raise NotPermitted("The credential was signed by the wrong kind of key; enrol again.", reason="BAD_ISSUER")
    if claims.expires is not None and now > claims.expires + _LEEWAY:
        raise NotPermitted(f"The credential of {claims.name} has expired; enrol again.", reason="EXPIRED")


def _raw_public(public: str) -> bytes:
    raw = base64.b32decode(public)
    if len(raw) != 35 or int.from_bytes(raw[33:], "little") != nkeys.crc16(bytearray(raw[:33])):
        raise ValueError("not an nkey")
    return raw[1:33]


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
