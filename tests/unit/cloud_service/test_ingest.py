"""What may be here, decided without a database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_service.ingest import admitted
from foveate import residency
from foveate.errors import Refused
from foveate.messages import Embedding, Event, Place, TriggerKind

POLICY = residency.parse(
    {
        "rules": [
            {"name": "facts-travel", "limits": {"FACTS": "WORLD", "EMBEDDING": "REGION"}},
            {"name": "north-facts-stay", "scope": {"label": "ward"}, "limits": {"FACTS": "REGION"}},
        ]
    },
    source="test",
)
EVENT = Event(
    event_id="e1",
    revision=1,
    device_id="cam-1",
    site_id="north",
    region="eu-west",
    trigger=TriggerKind.OBJECT,
    start=1_750_000_000.0,
    end=1_750_000_001.0,
    open=False,
    score=0.5,
    embedding=Embedding("conse@1", (1.0,)),
)


def test_it_is_kept_whole_in_its_own_region():
    assert admitted(EVENT, policy=POLICY, here=Place("eu-west")) is EVENT


def test_elsewhere_the_embedding_is_taken_out():
    assert admitted(EVENT, policy=POLICY, here=Place("us-ca")) == replace(EVENT, embedding=None)


@pytest.mark.parametrize("here", [Place("us-ca"), Place("")])
def test_facts_that_may_not_be_here_are_refused_with_the_rule(here: Place):
    with pytest.raises(Refused, match="north-facts-stay") as refused:
        admitted(replace(EVENT, device_labels=("ward",)), policy=POLICY, here=here)
    assert (refused.value.reason, refused.value.metadata["rule"]) == ("REFUSED", "north-facts-stay")


def test_without_a_rule_nothing_is_admitted():
    with pytest.raises(Refused, match="no rule lets it travel"):
        admitted(EVENT, policy=residency.ResidencyPolicy(()), here=Place("eu-west"))
