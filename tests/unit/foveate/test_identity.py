"""Keys, JWTs and rights: what is signed, what is turned down, and what a party may say."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveate import identity, subjects
from foveate.errors import InvalidInput, NotPermitted
from foveate.identity import KeyPair, Permissions, Role

OPERATOR, ACCOUNT, USER = (identity.make_key(role) for role in Role)


def signed(*, permissions: Permissions | None = None, expires: float | None = None) -> str:
    return identity.user_jwt(
        ACCOUNT,
        user=USER.public,
        name="body-1",
        permissions=permissions or identity.device_permissions("north", "body-1"),
        expires=expires,
    )


def with_claims(jwt: str, **changes: object) -> str:
    """The same token with other claims and the old signature."""
    head, body, signature = jwt.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))) | changes
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{head}.{changed}.{signature}"


def allowed(subject: str, patterns: tuple[str, ...]) -> bool:
    """Whether NATS lets the subject through: `*` is one token, `>` one or more."""

    def match(pattern: list[str], tokens: list[str]) -> bool:
        if not pattern or not tokens:
            return not pattern and not tokens
        if pattern[0] == ">":
            return True
        return pattern[0] in ("*", tokens[0]) and match(pattern[1:], tokens[1:])

    return any(match(pattern.split("."), subject.split(".")) for pattern in patterns)


@pytest.mark.parametrize(("role", "letter"), [(Role.OPERATOR, "O"), (Role.ACCOUNT, "A"), (Role.USER, "U")])
def test_a_public_key_says_what_it_is_for(role: Role, letter: str) -> None:
    pair = identity.make_key(role)
    assert pair.public.startswith(letter)
    assert len(pair.public) == 56
    assert pair.seed.startswith(f"S{letter}")
    assert identity.key_from_seed(pair.seed) == pair
    assert identity.make_key(role) != pair


def test_the_seed_stays_out_of_what_is_printed() -> None:
    assert USER.seed not in repr(USER)
    assert USER.seed not in str([USER])
    with pytest.raises(AttributeError):
        USER.seed = "other"  # type: ignore[misc]


@pytest.mark.parametrize("seed", ["", "SUAB", "hello", USER.public, USER.seed[:-4] + "AAAA!"])
def test_a_text_that_is_no_seed_is_refused(seed: str) -> None:
    with pytest.raises(InvalidInput, match="not an nkey"):
        identity.key_from_seed(seed)


def test_a_signed_token_says_who_may_do_what() -> None:
    claims = identity.verify(signed(expires=2_000.0), issuer=ACCOUNT.public, now=1_999.0)
    assert (claims.name, claims.subject, claims.issuer) == ("body-1", USER.public, ACCOUNT.public)
    assert (claims.kind, claims.expires) == ("user", 2_000)
    assert claims.nats["pub"]["allow"] == ["fv.v1.event.north.body-1", "fv.v1.presence.north.body-1"]
    assert claims.nats["resp"]["max"] > 0
    assert claims.nats["version"] == 2


def test_operator_and_account_tokens_form_a_chain() -> None:
    root = identity.verify(identity.operator_jwt(OPERATOR, name="laptop", system_account=ACCOUNT.public))
    assert root.issuer == root.subject == OPERATOR.public
    assert root.nats["system_account"] == ACCOUNT.public
    jwt = identity.account_jwt(OPERATOR, account=ACCOUNT.public, name="FLEET")
    account = identity.verify(jwt, issuer=OPERATOR.public)
    assert account.nats["limits"]["disk_storage"] == -1
    assert account.nats["limits"]["streams"] == -1
    jwt = identity.account_jwt(OPERATOR, account=ACCOUNT.public, name="SYS", jetstream=False)
    assert identity.verify(jwt).nats["limits"]["disk_storage"] == 0


def test_a_user_without_rights_is_denied_everything() -> None:
    nats = identity.verify(signed(permissions=Permissions())).nats
    assert nats["pub"] == {"deny": [">"]} == nats["sub"]
    assert "resp" not in nats


def test_what_is_denied_is_written_beside_what_is_allowed() -> None:
    rights = Permissions(publish_allow=("a.>",), publish_deny=("a.b",), subscribe_allow=("c",))
    nats = identity.verify(signed(permissions=rights)).nats
    assert nats["pub"] == {"allow": ["a.>"], "deny": ["a.b"]}
    assert nats["sub"] == {"allow": ["c"]}


def test_an_expired_token_is_turned_down() -> None:
    with pytest.raises(NotPermitted, match="body-1 has expired") as caught:
        identity.verify(signed(expires=1_000.0), now=1_006.0)
    assert caught.value.reason == "EXPIRED"
    assert identity.verify(signed(expires=1_000.0), now=1_004.0).name == "body-1"


def test_a_token_of_somebody_else_is_turned_down() -> None:
    with pytest.raises(NotPermitted) as caught:
        identity.verify(signed(), issuer=identity.make_key(Role.ACCOUNT).public)
    assert caught.value.reason == "BAD_ISSUER"


def test_a_user_cannot_sign_for_a_user() -> None:
    jwt = identity.user_jwt(USER, user=USER.public, name="me", permissions=Permissions())
    with pytest.raises(NotPermitted, match="wrong kind of key"):
        identity.verify(jwt)


@pytest.mark.parametrize("changes", [{"name": "body-2"}, {"exp": 9_999_999_999}, {"iss": OPERATOR.public}])
def test_a_changed_claim_breaks_the_signature(changes: dict[str, object]) -> None:
    with pytest.raises(NotPermitted, match="signature is wrong"):
        identity.verify(with_claims(signed(), **changes))


def test_another_algorithm_is_turned_down() -> None:
    _, body, signature = signed().split(".")
    header = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').decode().rstrip("=")
    with pytest.raises(NotPermitted, match="algorithm"):
        identity.verify(f"{header}.{body}.{signature}")


@given(st.one_of(st.text(max_size=200), st.builds(".".join, st.lists(st.text(alphabet="eyJ01-_", max_size=40)))))
def test_whatever_comes_in_as_a_token_gets_one_of_our_errors(text: str) -> None:
    with pytest.raises((InvalidInput, NotPermitted)):
        identity.verify(text)


def test_a_changed_public_key_is_no_nkey() -> None:
    letter = "B" if USER.public[10] != "B" else "C"
    wrong = USER.public[:10] + letter + USER.public[11:]
    with pytest.raises(InvalidInput):
        identity.verify(with_claims(signed(), iss=wrong))
    with pytest.raises(InvalidInput):
        identity.checked_public_key(wrong, Role.USER)


def test_a_public_key_of_another_role_is_refused() -> None:
    assert identity.checked_public_key(USER.public, Role.USER) == USER.public
    with pytest.raises(InvalidInput, match="starts with U"):
        identity.checked_public_key(ACCOUNT.public, Role.USER)


def test_credentials_are_read_back() -> None:
    text = identity.credentials_file(signed(), USER.seed)
    jwt, pair = identity.parse_credentials(text)
    assert pair == USER
    assert identity.verify(jwt).subject == pair.public
    with pytest.raises(InvalidInput, match="one JWT and one seed"):
        identity.parse_credentials(text.partition("-----BEGIN USER")[0])


def test_secrets_are_for_their_owner_and_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "device.creds"
    identity.write_secret(path, "first")
    path.chmod(0o644)
    identity.write_secret(path, "second")
    assert path.read_text() == "second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_key_is_made_once(tmp_path: Path) -> None:
    first = identity.load_or_make_key(tmp_path / "operator.nk", Role.OPERATOR)
    assert identity.load_or_make_key(tmp_path / "operator.nk", Role.OPERATOR) == first
    assert isinstance(first, KeyPair)


@pytest.mark.parametrize(
    "subject",
    [
        subjects.event("north", "body-2"),
        subjects.event("south", "body-1"),
        subjects.device_ask("north", "body-1"),
        subjects.device_command("north", "body-2"),
        subjects.site_device("north"),
        subjects.out_event("north"),
        "$JS.API.STREAM.CREATE.EVENTS",
        "_INBOX.edge",
    ],
)
def test_a_device_may_not_say_more_than_what_it_saw(subject: str) -> None:
    assert not allowed(subject, identity.device_permissions("north", "body-1").publish_allow)


@pytest.mark.parametrize(
    "subject",
    [
        subjects.device_ask("north", "body-2"),
        subjects.device_clip("south", "body-1"),
        subjects.device_command("north", "body-2"),
        subjects.site_device("north"),
        subjects.event("north", "body-1"),
        "_INBOX.abc",
        "_INBOX_body-2.abc",
    ],
)
def test_a_device_may_not_hear_what_is_meant_for_others(subject: str) -> None:
    assert not allowed(subject, identity.device_permissions("north", "body-1").subscribe_allow)


def test_a_device_may_do_its_work() -> None:
    rights = identity.device_permissions("north", "body-1")
    assert allowed(subjects.event("north", "body-1"), rights.publish_allow)
    assert allowed(subjects.presence("north", "body-1"), rights.publish_allow)
    assert allowed(subjects.device_ask("north", "body-1"), rights.subscribe_allow)
    assert allowed(subjects.device_clip("north", "body-1"), rights.subscribe_allow)
    assert allowed(subjects.device_command("north", "body-1"), rights.subscribe_allow)
    assert allowed(subjects.device_inbox("body-1") + ".abc.1", rights.subscribe_allow)


def test_an_edge_lets_out_only_through_its_own_outlet() -> None:
    rights = identity.edge_bridged_permissions("north")
    assert allowed(subjects.out_event("north"), rights.publish_allow)
    assert not allowed(subjects.out_event("south"), rights.publish_allow)
    assert not allowed(subjects.event("north", "body-1"), rights.publish_allow)
    assert allowed(subjects.site_ask("north"), rights.subscribe_allow)
    assert not allowed(subjects.site_ask("south"), rights.subscribe_allow)
    assert allowed(subjects.site_device("north"), rights.subscribe_allow)
    assert not allowed(subjects.site_device("south"), rights.subscribe_allow)
    local = identity.edge_local_permissions()
    assert allowed(subjects.device_ask("north", "body-1"), local.publish_allow)
    assert allowed(subjects.device_command("north", "body-1"), local.publish_allow)
    assert allowed(subjects.event("north", "body-1"), local.subscribe_allow)


def test_a_leaf_link_carries_one_site_only() -> None:
    rights = identity.leaf_permissions("north")
    assert allowed(subjects.site_ask("north"), rights.subscribe_allow)
    assert allowed("$JS.site-north.API.CONSUMER.CREATE.OUT", rights.subscribe_allow)
    for subject in (subjects.site_ask("south"), "$JS.site-south.API.INFO", "$JS.hub.API.INFO", "_INBOX.a"):
        assert not allowed(subject, rights.subscribe_allow)
    for subject in (subjects.out_event("south"), subjects.event("north", "body-1"), "$JS.hub.API.STREAM.INFO.INGEST"):
        assert not allowed(subject, rights.publish_allow)
