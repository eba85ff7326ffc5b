"""`foveate ask`, `foveate explain` and `foveate question show`.

In: a question on the command line. Out: how it is being answered, the answer and its evidence pictures.
Knows nothing of how a question is placed: that is the router's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from foveate import messages as m
from foveate.cli import as_json as to_json
from foveate.cli import asking, endpoints, evidence, showing
from foveate.cli.options import CANNOT_TELL, AsJson, At, Data, Router, console, finish, print_json
from foveate.cli.schema_file import read_schema
from foveate.errors import NotFound, Unreachable

question = typer.Typer(no_args_is_help=True, help="Questions that were asked.")
EXIT = {m.Outcome.ANSWERED: 0, m.Outcome.REFUSED: 3, m.Outcome.CANNOT_TELL: CANNOT_TELL}


def ask(
    text: Annotated[str, typer.Argument(metavar="QUESTION", help="Plain English, in quotes.")],
    device: Annotated[list[str] | None, typer.Option(help="Look only at this device (repeatable).")] = None,
    site: Annotated[list[str] | None, typer.Option(help="Look only at this site (repeatable).")] = None,
    since: Annotated[str | None, typer.Option(help="From when: 10m, 2h, or ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when: 10m, 2h, or ISO 8601.")] = None,
    deadline: Annotated[float | None, typer.Option(help="Seconds within which the answer is needed.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Most that the answer may cost, in US dollars.")] = None,
    min_confidence: Annotated[float | None, typer.Option(help="Below this (0 to 1) say 'cannot tell'.")] = None,
    schema: Annotated[Path | None, typer.Option(help="JSON Schema for a document with the answer.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for evidence pictures (default: evidence/ in the data directory).")
    ] = None,
    at: At = None,
    router: Router = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question in plain English; it is answered where that is fast, cheap and allowed.

    Example: foveate ask "when did a car first appear?" --device cam-1 --json

    Exit code: 0 answered, 3 refused by a residency rule, 5 cannot tell, 2 bad input, 4 unknown device or site,
    75 try again.
    """

    async def work() -> int:
        asked = asking.question(
            text,
            scope=m.Scope(tuple(device or ()), tuple(site or ()), asking.moment(since), asking.moment(until)),
            constraints=m.Constraints(deadline, max_cost, min_confidence, read_schema(schema) if schema else ""),
        )
        target = await _router(router, at, data, sites=site or ())
        return await _ask(asked, target=target, folder=_folder(pictures, data), as_json=as_json)

    finish(work(), as_json=as_json)


async def _ask(asked: m.Question, *, target: str, folder: Path, as_json: bool) -> int:
    screen = console()
    if not as_json:
        showing.heading(screen, asked.text)
    async for item in asking.ask(target, asked):
        if isinstance(item, m.QuestionRecord):
            images = await asyncio.to_thread(evidence.write_pictures, item, folder)
            if as_json:
                print_json(to_json.question(item, images=images))
            else:
                showing.record(screen, item, images=images)
            return EXIT[item.answer.outcome]
        if not as_json:
            showing.happening(screen, item)
    raise Unreachable("The router ended the call without an answer; see its log.")


def explain(
    question_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a question, or the beginning of one (default: the newest).")
    ] = "",
    at: At = None,
    router: Router = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Explain how a question was placed: what was considered, refused and tried, with the reason of each.

    Example: foveate explain 019c2f7e-5711
    """

    async def work() -> None:
        target = await _router(router, at, data)
        record = await (asking.recorded(target, question_id) if question_id else _newest(target))
        if as_json:
            print_json(to_json.question(record))
        else:
            showing.explanation(console(), record)

    finish(work(), as_json=as_json)


@question.command("show")
def show(
    question_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a question, or the beginning of one (default: the newest).")
    ] = "",
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for evidence pictures (default: evidence/ in the data directory).")
    ] = None,
    at: At = None,
    router: Router = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show a question that was asked, with its answer, document and evidence.

    Example: foveate question show 019c2f7e-5711
    """

    async def work() -> None:
        target = await _router(router, at, data)
        record = await asking.recorded(target, question_id or (await _newest(target)).question.question_id)
        images = await asyncio.to_thread(evidence.write_pictures, record, _folder(pictures, data))
        if as_json:
            print_json(to_json.question(record, images=images))
            return
        screen = console()
        showing.heading(screen, record.question.text)
        showing.record(screen, record, images=images)

    finish(work(), as_json=as_json)


async def _router(given: str | None, at: str | None, data: Path | None, *, sites: Sequence[str] = ()) -> str:
    """The router to ask; says on standard error when a site's own stands in for the fleet's."""
    target, site = await endpoints.router(given=given, at=at, data=data, sites=sites)
    if site and not at:
        said = f"The router of the fleet does not answer; this is the own router of {site}."
        Console(stderr=True, highlight=False).print(escape(said), soft_wrap=True)
    return target


async def _newest(target: str) -> m.QuestionRecord:
    records = await asking.newest(target, count=1)
    if not records:
        raise NotFound("No question was asked yet; ask one with `foveate ask`.")
    return records[0]


def _folder(given: Path | None, data: Path | None) -> Path:
    return given if given is not None else endpoints.data_directory(data) / "evidence"
