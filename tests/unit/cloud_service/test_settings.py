"""Settings come from the environment, and a missing one is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_service import settings
from foveate.errors import InvalidInput

GIVEN = {
    "NATS_URL": "nats://h",
    "DATABASE_URL": "postgresql+psycopg://d",
    "REGION": "eu-west",
    "POLICY": "p.yaml",
    "KEYS_DIR": "k",
    "DATA_DIR": "d",
}


def test_all_is_read_and_the_rest_has_defaults(monkeypatch: pytest.MonkeyPatch):
    for name, value in GIVEN.items():
        monkeypatch.setenv(f"FOVEATE_CLOUD_{name}", value)
    found = settings.load()
    assert (found.region, found.policy, found.credentials) == ("eu-west", Path("p.yaml"), None)
    assert found.listen == "127.0.0.1:0"


@pytest.mark.parametrize("missing", GIVEN)
def test_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch, missing: str):
    for name, value in GIVEN.items():
        monkeypatch.delenv(f"FOVEATE_CLOUD_{name}", raising=False)
        if name != missing:
            monkeypatch.setenv(f"FOVEATE_CLOUD_{name}", value)
    with pytest.raises(InvalidInput, match=f"FOVEATE_CLOUD_{missing} is not set; see `foveate-cloud --help`"):
        settings.load()
