"""Which task a question sets.

In: lower-case text without its cameras and times, and whether it looks for words. Out: the task, and whether that was
only guessed. It knows no subject; `understand` is next.
"""

from __future__ import annotations

import re

from foveate.messages import Task

_WRITING = r"(?:sign|label|screen|board|plate|text|note|page|paper|poster|banner|badge|display|document|letter)"
_SOUND = (
    r"said|say|says|saying|hear|heard|sounds?|spoke|spoken|speaking|listen|transcri\w+|noises?|gunshots?|shout\w*"
    r"|scream\w*|yell(?:s|ed|ing)?|whisper\w*|speech|voices?|talk(?:s|ed|ing)? about"
)
_UPPER = r"(?:most|maximum|max|largest|highest|greatest|peak|biggest)"
_LOWER = r"(?:least|fewest|minimum|min|smallest|lowest)"
_MOST = rf"(?:{_UPPER}|{_LOWER})"
# In order: the first that matches decides.
_TASKS: tuple[tuple[Task, re.Pattern[str]], ...] = (
    (
        Task.COMPARE,
        re.compile(
            r"\bcompar|\bdiffer(?:s|ed|ence|ences)?\b|\bdifferent (?:from|than)\b|\b(?:busier|quieter)\b"
            r"|\b(?:more|fewer|less) \w+ .*\bthan\b(?! (?:one|two|\d))|\bsame .+ as\b"
            r"|\bas (?:many|few) .+ as\b|(?<!or )\b(?:more|fewer|less)\b(?! than).* or\b"
        ),
    ),
    (
        Task.SUMMARISE,
        re.compile(r"\bsummar|\bsum up\b|\brecap\b|\bwhat (?:has )?happen|\boverview\b|\breport on\b"),
    ),
    (Task.EXTRACT, re.compile(r"\bextract\b|\bfill (?:in|out)\b|\bas (?:json|csv|a table)\b|\bschema\b")),
    (
        Task.READ,
        re.compile(
            r"\bread\b|\bwritten\b|\btext on\b|\bany (?:text|writing)\b|\b(?:licen[cs]e|number) plate|\bplate number"
            rf"|\b{_WRITING}s? (?:that |which )?(?:say|says|said|saying|reads?|reading)\b"
        ),
    ),
    (Task.LISTEN, re.compile(rf"\b(?:{_SOUND})\b")),
    (
        Task.COUNT,
        re.compile(
            r"\bhow many\b|\b(?:the )?number of\b|\bcount\b|\bhow much people\b"
            rf"|\bwhat (?:is|are|was|were) the {_MOST}\b(?! recent)|^(?:the )?{_MOST} (?!recent)"
        ),
    ),
    (
        Task.DESCRIBE,
        re.compile(
            r"\bwhat colou?r|\bcolou?r of\b|\bwhat (?:kind|type|sort|brand|model)\b|\bdescribe\b|\bmood\b"
            r"|\bhow long\b(?! ago)|\bwhy\b|\bwhat (?:is|are|was|were) (?!the time)|\bwhat (?:does|do|did|can)\b"
            r"|\bhow (?:does|do|did)\b|\bwho (?:is|are|was|were)\b|\bwhose\b|\blooks? like\b"
        ),
    ),
    (
        Task.FIND,
        re.compile(
            r"\bwhen\b|\bwhat time\b|\bat which time\b|\bwhere\b|\bshow (?:me|us|all|every|each|the)\b|^\s*show\b"
            r"|\bfind\b|\blocate\b|\bsearch\b|\blook for\b|\bhow long ago\b|\bgive me\b|\blist\b"
            r"|^\s*(?:the )?(?:first|last|latest|earliest|most recent)\b"
            r"|\bwhich (?:camera|device|site)s?\b"
        ),
    ),
    (
        Task.PRESENCE,
        re.compile(
            r"\b(?:is|are|was|were|did|do|does|has|have|had|any|anyone|anybody|someone|somebody|can|could|nobody)\b"
        ),
    ),
)
_BY_WORDS = (Task.PRESENCE, Task.FIND, Task.DESCRIBE)
_WORDS_COUNTED = re.compile(r"\bhow many times\b|\bhow often\b")
_PEAK = re.compile(rf"\b{_UPPER}\b")
_NOT_AT_ONCE = re.compile(rf"\b(?:the |at )?{_LOWER}\b|\b(?:different|distinct|unique)\b")
_EXTREME = re.compile(rf"\b(?:the )?(?:{_MOST}|busiest|quietest)\b(?! recent)")


def task_of(text: str, *, words: bool) -> tuple[Task, bool]:
    """The task, and whether it was only guessed; what looks for `words` reads, or listens when it is about a sound."""
    task, guessed = next(((task, False) for task, pattern in _TASKS if pattern.search(text)), (Task.PRESENCE, True))
    counted = task is Task.COUNT and _WORDS_COUNTED.search(text) is not None
    return (Task.READ, False) if words and (task in _BY_WORDS or counted) else (task, guessed)


def extreme_of(text: str, task: Task) -> str:
    """The words that ask for the moment of the most or the fewest, where no node finds that; empty when none do.

    Over a span of time the most at once is what a count gives; the fewest, and who came twice, it does not tell.
    """
    pattern = _NOT_AT_ONCE if task is Task.COUNT else _EXTREME
    match = pattern.search(text) if task in (Task.COUNT, Task.FIND) else None
    return match[0] if match is not None else ""


def without_peak(words: str) -> str:
    """Words that narrow what is counted, without those that ask for the most of it."""
    return " ".join(_PEAK.sub(" ", words).split())
