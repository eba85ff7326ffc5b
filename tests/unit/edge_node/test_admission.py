"""Admission: few at once, a short queue, and an honest delay past it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from edge_node.admission import Admission, Admitted
from foveate.errors import Overloaded
from foveate.messages import (
    Answer,
    AnswerRequest,
    Outcome,
    Pick,
    Placement,
    Question,
    Representation,
    Task,
    Tier,
    Understanding,
)


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def admission(clock: Clock, *, at_once: int = 2, longest_wait_s: float = 1.0) -> Admission:
    return Admission(at_once=at_once, longest_wait_s=longest_wait_s, expected_s=0.5, clock=clock)


async def held(places: Admission, stack: AsyncExitStack, number: int, kind: str = "") -> None:
    for _ in range(number):
        await stack.enter_async_context(places.place(kind))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_as_many_as_fit_have_no_wait() -> None:
    places = admission(Clock())
    async with AsyncExitStack() as stack:
        await held(places, stack, 2)
        assert places.expected_wait_s() == pytest.approx(0.5)
    assert places.expected_wait_s() == 0.0
    assert places.refused == 0


async def test_the_wait_is_what_is_left_of_those_at_work_and_all_of_those_who_wait() -> None:
    clock = Clock()
    places = admission(clock)
    async with AsyncExitStack() as stack:
        await held(places, stack, 2)
        clock.now += 0.2
        assert places.expected_wait_s() == pytest.approx(0.3)
        queued = asyncio.create_task(held(places, AsyncExitStack(), 1))
        await settled()
        assert places.expected_wait_s() == pytest.approx((0.3 + 0.3 + 0.5) / 2)
        queued.cancel()
        await asyncio.gather(queued, return_exceptions=True)
        assert places.expected_wait_s() == pytest.approx(0.3)
        clock.now += 99.0  # they take longer than anybody did before
        assert places.expected_wait_s() > 0.0


async def test_past_the_longest_wait_the_answer_is_later_with_the_delay_that_was_measured() -> None:
    clock = Clock()
    places = admission(clock, at_once=1, longest_wait_s=3.0)
    async with places.place():
        clock.now += 4.0
    async with AsyncExitStack() as stack:
        await held(places, stack, 1)
        with pytest.raises(Overloaded) as caught:
            async with places.place():
                raise AssertionError
        assert caught.value.retry_after == pytest.approx(4.0)
        assert (places.refused, caught.value.code) == (1, "RESOURCE_EXHAUSTED")


async def test_who_has_no_time_to_wait_and_be_answered_is_told_at_once() -> None:
    places = admission(Clock(), at_once=1)
    async with AsyncExitStack() as stack:
        await held(places, stack, 1)
        with pytest.raises(Overloaded):
            await stack.enter_async_context(places.place(time_left_s=0.9))
    async with places.place(time_left_s=0.01):
        pass  # with a place free it is for the answer to find out


async def test_kinds_are_learnt_apart_and_slowly() -> None:
    clock = Clock()
    places = admission(clock)
    async with places.place("clip"):
        clock.now += 2.0
    async with places.place("facts"):
        clock.now += 0.1
    assert (places.expected_s("clip"), places.expected_s("facts")) == pytest.approx((2.0, 0.1))
    async with places.place("facts"):
        clock.now += 1.1
    assert places.expected_s("facts") == pytest.approx(0.2)
    assert places.expected_s("new") == 0.5


async def test_first_come_first_served_never_more_at_once_and_nobody_is_forgotten() -> None:
    places = admission(Clock(), longest_wait_s=1000.0)
    served: list[int] = []
    now = most = 0

    async def one(number: int) -> None:
        nonlocal now, most
        async with places.place():
            now, served[len(served) :] = now + 1, [number]
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

    tasks = [asyncio.create_task(one(number)) for number in range(50)]
    await settled()
    for task in tasks[30:35]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert served == [number for number in range(50) if not 30 <= number < 35]
    assert most == 2
    assert places.expected_wait_s() == 0.0


async def test_who_gives_up_in_the_moment_of_being_called_hands_the_place_on() -> None:
    places = admission(Clock(), at_once=1, longest_wait_s=1000.0)
    first = AsyncExitStack()
    await held(places, first, 1)
    second, third = (asyncio.create_task(held(places, AsyncExitStack(), 1)) for _ in range(2))
    await settled()
    await first.aclose()  # calls the second ...
    second.cancel()  # ... which gives up before it hears
    await asyncio.wait_for(third, 1.0)
    assert second.cancelled()


async def test_a_failure_inside_frees_the_place() -> None:
    places = admission(Clock(), at_once=1)
    with pytest.raises(ValueError, match="broken"):
        async with places.place():
            raise ValueError("broken")
    assert places.expected_wait_s() == 0.0


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def answer(self, request: AnswerRequest) -> Answer:
        await self.go.wait()
        return Answer(request.question.question_id, Outcome.ANSWERED, "Yes.", 0.9)


def request(tier: Tier, representation: Representation, *, now: bool = False) -> AnswerRequest:
    understood = Understanding(Task.PRESENCE, "car", ("car",), 0.0, 1.0, now, Pick.ANY, "")
    placement = Placement(tier, "north", representation)
    return AnswerRequest(Question("q", "a car?", 1.0), understood, placement, ("body-1",), 1, time_left_s=9.0)


async def test_who_waits_for_pictures_holds_up_nobody_who_asks_memory() -> None:
    recall, look, slow = admission(Clock(), at_once=1, longest_wait_s=0.0), admission(Clock(), at_once=1), Slow()
    site = Admitted(slow, recall=recall, look=look)
    clip = asyncio.create_task(site.answer(request(Tier.EDGE, Representation.CLIP)))
    await settled()
    assert (look.expected_wait_s() > 0.0, recall.expected_wait_s()) == (True, 0.0)
    facts = asyncio.create_task(site.answer(request(Tier.EDGE, Representation.FACTS)))
    await settled()
    with pytest.raises(Overloaded):
        await site.answer(request(Tier.EDGE, Representation.EMBEDDING))
    for other in (request(Tier.EDGE, Representation.FACTS, now=True), request(Tier.DEVICE, Representation.FACTS)):
        task = asyncio.create_task(site.answer(other))
        await settled()
        assert not task.done()
        task.cancel()
    slow.go.set()
    assert [(await one).outcome for one in (clip, facts)] == [Outcome.ANSWERED] * 2
