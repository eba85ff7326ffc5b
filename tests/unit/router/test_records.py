"""Records: the first one stays, unique beginnings find them, the oldest go first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foveate.errors import InvalidInput, NotFound, NotReady
from foveate.messages import Answer, Evidence, Outcome, QuestionRecord, Representation, Step, StepState
from router.records import Records


@pytest.fixture
def record(world: Any) -> QuestionRecord:
    placing = world.place("is there a dog now?", devices=["body-1"])
    placement = placing.order[0].placement
    evidence = Evidence("body-1", 1e9, 1e9, picture=b"jpeg", representation=Representation.FRAMES)
    answer = Answer("q-00000001", Outcome.ANSWERED, "Yes.", 0.9, True, (evidence,), placement)
    step = Step(placement, StepState.ANSWERED, "0.90 sure", 0.9, 0.1, 0.001)
    return QuestionRecord(world.question("is there a dog now?"), placing.plan, (step,), answer, 0.2, 0.001)


def named(record: QuestionRecord, question_id: str, text: str = "Yes.") -> QuestionRecord:
    question = replace(record.question, question_id=question_id)
    return replace(record, question=question, answer=replace(record.answer, text=text))


def test_a_record_comes_back_whole_after_a_restart(tmp_path: Path, record: QuestionRecord) -> None:
    records = Records(tmp_path / "questions.sqlite")
    records.keep(record)
    records.close()
    again = Records(tmp_path / "questions.sqlite")
    found = again.find("q-00000001")
    assert found.answer.evidence[0].picture == b"jpeg"
    assert (found.question, found.steps) == (record.question, record.steps)
    assert [p.placement for p in found.plan.placements] == [p.placement for p in record.plan.placements]
    again.close()


def test_the_first_record_of_an_id_stays(tmp_path: Path, record: QuestionRecord) -> None:
    records = Records(tmp_path / "questions.sqlite")
    assert records.keep(named(record, "same-id-1", "first")).answer.text == "first"
    assert records.keep(named(record, "same-id-1", "second")).answer.text == "first"
    assert len(records.newest(10)) == 1
    records.close()


def test_a_unique_beginning_of_eight_characters_finds_it(tmp_path: Path, record: QuestionRecord) -> None:
    records = Records(tmp_path / "questions.sqlite")
    records.keep(named(record, "01234567-a"))
    records.keep(named(record, "01234567-b"))
    records.keep(named(record, "%_______-c"))
    assert records.find("01234567-a").question.question_id == "01234567-a"
    with pytest.raises(InvalidInput, match="give more characters"):
        records.find("01234567")
    with pytest.raises(InvalidInput, match="at least 8"):
        records.find("0123456")
    with pytest.raises(NotFound, match="no question 99999999"):
        records.find("99999999")
    assert records.find("%_______").question.question_id == "%_______-c"
    records.close()


def test_the_newest_come_first_and_the_oldest_go(tmp_path: Path, record: QuestionRecord) -> None:
    records = Records(tmp_path / "questions.sqlite", kept=3)
    for number in range(5):
        records.keep(named(record, f"question-{number}"))
    assert [r.question.question_id for r in records.newest(2)] == ["question-4", "question-3"]
    assert len(records.newest(10)) == 3
    assert records.first("question-0") is None
    records.close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "questions.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(NotReady, match="move that file away"):
        Records(tmp_path / "questions.sqlite")
