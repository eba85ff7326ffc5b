"""What became scenery, asked of a real database: until when it stands there, and in databases of older builds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import text

from foveate.memory import Memory
from foveate.messages import (
    Answer,
    AnswerRequest,
    Event,
    Pick,
    Placement,
    Question,
    Representation,
    Sighting,
    Task,
    Tier,
    Track,
    TriggerKind,
    Understanding,
)
from foveate.recall import recall
from foveate.standing import MOST_STANDING_S
from foveate.vision.boxes import Box

NOON = 1_750_075_200.0  # 12:00:00 UTC
BOX = Box(0.25, 0.25, 0.25, 0.25)
GONE = "gone from where it stood"


def event(start: float, end: float, *, about: str = "", box: Box = BOX, track: int = 4, **changes: Any) -> Event:
    start, end = NOON + start, NOON + end
    seen = (Sighting(start, "car", 0.8, box), Sighting(end, "car", 0.8, box))
    made = Event(
        event_id=f"{track}-{start}",
        revision=1,
        device_id="cam-1",
        site_id="north",
        region="eu-west",
        trigger=TriggerKind.OBJECT,
        start=start,
        end=end,
        open=False,
        score=0.8,
        tracks=(Track(track, "car", 0.8, start, end, seen),),
        about=about,
    )
    return replace(made, **changes)


async def ask(memory: Memory, start: float, end: float, task: Task = Task.PRESENCE, **changes: Any) -> Answer:
    wanted = Understanding(task, "car", ("car",), NOON + start, NOON + end, False, Pick.LAST, "")
    request = AnswerRequest(
        question=Question("q-1", "?", ask_time=NOON + end),
        understanding=replace(wanted, **changes),
        placement=Placement(Tier.EDGE, "north", Representation.FACTS),
        device_ids=("cam-1",),
        devices_in_scope=1,
        time_left_s=5.0,
    )
    return await recall(request, memory, None)


async def test_a_parked_car_is_there_until_it_is_told_of_again(database_url: str) -> None:
    parked = event(0, 130, about="scenery: has not moved for 120 s")
    async with Memory.open(database_url) as memory:
        await memory.upsert(parked)
        await memory.upsert(event(100, 140, box=Box(0.7, 0.7, 0.2, 0.2), track=5))
        answer = await ask(memory, 600, 660)
        assert answer.value is True
        assert answer.confidence < 0.7
        assert "stood still since 12:00:10 UTC" in answer.text
        assert [piece.sightings[0].box for piece in answer.evidence] == [BOX]
        assert (await ask(memory, 600, 660, Task.COUNT)).value == 1
        assert (await ask(memory, 655, 660, Task.COUNT, now=True)).value == 1
        assert (await ask(memory, 639, 640, Task.COUNT)).value == 1
        assert (await ask(memory, 600, 660, Task.FIND)).value == NOON + 660
        assert (await ask(memory, MOST_STANDING_S + 200, MOST_STANDING_S + 260)).value is False
        await memory.upsert(event(400, 402, about=GONE))
        assert (await ask(memory, 300, 360)).value is True
        gone = await ask(memory, 600, 660)
        assert gone.value is False
        assert gone.confidence > 0.85


async def test_a_car_that_a_new_start_numbers_anew_is_counted_once(database_url: str) -> None:
    parked = event(0, 130, about="scenery: has not moved for 120 s")
    async with Memory.open(database_url) as memory:
        await memory.upsert(parked)
        await memory.upsert(event(500, 660, track=1, open=True))
        answer = await ask(memory, 600, 660, Task.COUNT)
        assert answer.value == 1
        assert "stood still" not in answer.text


async def test_a_table_of_an_older_build_gets_the_column_and_its_index(database_url: str) -> None:
    async with Memory.open(database_url) as memory, memory.transaction() as connection:
        await connection.execute(text("alter table remembered_track drop column scenery"))
    async with Memory.open(database_url) as memory:
        await memory.upsert(event(0, 130, about="scenery: has not moved for 120 s"))
        assert (await ask(memory, 600, 660)).value is True
