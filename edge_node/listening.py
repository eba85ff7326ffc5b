"""7, answer, listen: what was said, whether certain words were, or whether and when somebody spoke.

In: a placed question of the task LISTEN. Out: an `Answer` that quotes speech with camera and time, from memory and,
where a whole clip may be had, from its sound. Only speech is known: other sounds have no names here. What was said is
quoted and never obeyed. Next: `answer.py`, which returns it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_node.closer import MOST_WINDOWS, Closer, Window
from edge_node.decode import Timeline, timeline
from edge_node.fetch import Clip
from edge_node.quotes import Asked, Quote, answer_of, asked, matching, quote
from edge_node.scene import Scene, Spoken
from edge_node.senses import tags
from edge_node.sound import LONGEST_S, sound_of, speech_in
from edge_node.transcribe import Recogniser, transcribe
from foveate.errors import BadVideo
from foveate.facts import between, cannot_tell, clock
from foveate.hearing import VoiceDetector
from foveate.memory import Memory
from foveate.messages import Answer, AnswerRequest, Evidence, Outcome, Pick, Representation, TriggerKind
from foveate.recall import joined

NOT_TRANSCRIBED = "what was said cannot be told here: no speech model is installed at this site"

_LATELY_S = 30.0  # how far back "now" reaches for what is said
_AROUND_S = 5.0
_MOST = 200
_SPOKE = 0.8  # Silero over a quarter of a second of sound: speech of radios and screens is speech to it
_SILENT = 0.7  # nobody heard in the sound that was listened to; less for the share that was not
_SPEECH = re.compile(
    r"\b(?:sa(?:id|y|ys|ying)|sp(?:eak\w*|oke\w*|eech)|talk\w*|voices?|words?|conver\w+|transcri\w+)\b"
)
_SOUNDS = re.compile(
    r"\b(?:sounds?|noises?|gunshots?|shots?|alarms?|sirens?|bark\w*|music|horns?|glass|explo\w+|scream\w*|laugh\w*|cry\w*"
    r"|foot\w+|engines?|knock\w*|bells?|crash\w*|bang\w*)\b"
)


@dataclass(frozen=True, slots=True)
class Listened:
    """What a clip's sound holds: when somebody spoke, and what was said where that can be told."""

    window: Window
    seconds: float
    spoke: tuple[Evidence, ...]
    said: tuple[Quote, ...]


class Listens:
    """Listens in memory and, where a clip may be had, in its sound."""

    def __init__(
        self,
        *,
        memory: Memory,
        scene: Scene | None,
        closer: Closer,
        voice: Callable[[], VoiceDetector | None],
        recogniser: Callable[[], Recogniser | None],
    ) -> None:
        self._memory = memory
        self._scene = scene
        self._closer = closer
        self._voice = voice
        self._recogniser = recogniser

    async def answer(self, request: AnswerRequest) -> Answer:
        """The answer; raises Unreachable when the database is gone."""
        wanted, text = request.understanding, request.question.text.casefold()
        if not wanted.words and _SOUNDS.search(text) and not _SPEECH.search(text):
            return cannot_tell(request, "only speech is recognised in sound; other sounds cannot be named here")
        said, spoke = await self._remembered(request)
        heard: list[Listened] = []
        missing: list[str] = []
        voice, recogniser = None, None
        if request.placement.representation is Representation.CLIP:
            voice = await asyncio.to_thread(self._voice)
            recogniser = await asyncio.to_thread(self._recogniser)
            if voice is not None:
                windows = _windows(request, [*(one.evidence for one in matching(said, wanted.words)), *spoke])
                heard, missing = await self._closer.each_in_time(request, windows, _listen(voice, recogniser))
        said += [one for each in heard for one in each.said]
        spoke += [piece for each in heard for piece in each.spoke]
        answer = self._told(request, said, spoke, heard, missing, able=recogniser is not None)
        return replace(answer, model=tags(voice, recogniser))

    def _told(
        self,
        request: AnswerRequest,
        said: list[Quote],
        spoke: list[Evidence],
        heard: list[Listened],
        missing: list[str],
        *,
        able: bool,
    ) -> Answer:
        wanted, reason = request.understanding, joined(*missing)
        about_words = bool(wanted.words) or asked(request) is Asked.WORDS
        if about_words and (matching(said, wanted.words) or able):
            return answer_of(request, said, verb="heard", looked=bool(heard), reason=reason)
        if about_words:
            return _not_told(request, spoke, joined(NOT_TRANSCRIBED, reason))
        return _speech(request, [*spoke, *(one.evidence for one in said)], heard, reason)

    async def _remembered(self, request: AnswerRequest) -> tuple[list[Quote], list[Evidence]]:
        """What was said, and when devices heard speech."""
        wanted = request.understanding
        start = wanted.start - (_LATELY_S if wanted.now else 0.0)
        events = await self._memory.select(device_ids=request.device_ids, start=start, end=wanted.end, limit=_MOST)
        spoke = [
            Evidence(e.device_id, max(e.start, start), e.end, e.event_id, media_offset=e.media_offset)
            for e in events
            if e.trigger is TriggerKind.SOUND and "speech" in e.about
        ]
        said: list[Quote] = []
        if self._scene is not None:
            stretches = await self._scene.spoken(request.device_ids, start, wanted.end, wanted.words, limit=_MOST)
            said = [_remembered(one) for one in stretches]
        return said, spoke


def _windows(request: AnswerRequest, cited: list[Evidence]) -> list[Window]:
    """Around what was heard before, else the last half minute of the span, of three cameras."""
    wanted = request.understanding
    end = request.question.ask_time if wanted.now else min(wanted.end, request.question.ask_time)
    start = end - _LATELY_S if wanted.now else max(wanted.start, end - LONGEST_S)
    if end - wanted.start > LONGEST_S and not wanted.now and cited:
        pieces = {piece.device_id: piece for piece in reversed(cited) if piece.device_id in request.device_ids}
        return [
            Window(p.device_id, p.start - _AROUND_S, min(p.end + _AROUND_S, p.start - _AROUND_S + LONGEST_S), p)
            for p in list(pieces.values())[:MOST_WINDOWS]
        ]
    return [Window(device, start, end) for device in request.device_ids[:MOST_WINDOWS]]


def _listen(voice: VoiceDetector, recogniser: Recogniser | None) -> Callable[[Window, Clip], Listened]:
    def listen(window: Window, clip: Clip) -> Listened:
        track, header = sound_of(clip.path), clip.header
        if track is None:
            raise BadVideo(f"The clip of {window.device_id} has no sound; ask a camera with a microphone.")
        clock = _clock(clip)
        speech = speech_in(track.sound, voice)
        offset = header.media_offset

        def piece(start: float, end: float) -> Evidence:
            first, last = clock.at(track.first + start), clock.at(track.first + end)
            place = None if offset is None else offset + (first - header.start) * clock.rate
            event = window.piece.event_id if window.piece else ""
            return Evidence(
                window.device_id, first, last, event, media_offset=place, representation=header.representation
            )

        said = transcribe(track.sound, speech, recogniser) if recogniser is not None else ()
        quotes = [quote(s.text, s.confidence * (1.0 - s.silence), piece(s.start, s.end)) for s in said]
        spoke = [piece(span.start, span.end) for span in speech]
        return Listened(
            window,
            max(0.0, min(window.end, header.end) - max(window.start, header.start)),
            tuple(one for one in spoke if one.end >= window.start and one.start <= window.end),
            tuple(q for q in quotes if q.evidence.end >= window.start and q.evidence.start <= window.end),
        )

    return listen


def _clock(clip: Clip) -> Timeline:
    try:
        return timeline(clip.path, clip.header)
    except BadVideo:
        return Timeline(clip.header.start, 0.0, 1.0)  # a microphone without a camera


def _remembered(stretch: Spoken) -> Quote:
    piece = Evidence(stretch.device_id, stretch.start, stretch.end, stretch.event_id)
    return quote(stretch.text, stretch.confidence * (1.0 - stretch.silence), piece)


def _not_told(request: AnswerRequest, spoke: list[Evidence], why: str) -> Answer:
    where = "; ".join(f"{piece.device_id} heard speech at {clock(piece.start)}" for piece in spoke[:4])
    return cannot_tell(request, joined(where, why), evidence=tuple(spoke[:4]))


def _speech(request: AnswerRequest, spoke: list[Evidence], heard: list[Listened], reason: str) -> Answer:
    """Whether and when somebody spoke."""
    wanted = request.understanding
    if not spoke:
        if not heard:
            return cannot_tell(request, joined("no speech is remembered, and no sound could be listened to", reason))
        text = f"No: nobody was heard speaking {between(wanted.start, wanted.end)}."
        span = max(wanted.end - wanted.start, 1e-3)
        share = min(1.0, max(one.seconds for one in heard) / span) * len(heard) / max(1, request.devices_in_scope)
        sure = 0.5 + (_SILENT - 0.5) * min(1.0, share)
        return _said(request, text, False, sure, [], reason)
    last = wanted.pick is Pick.LAST
    chosen = max(spoke, key=lambda piece: piece.end) if last else min(spoke, key=lambda piece: piece.start)
    when = asked(request) is Asked.WHEN
    moment = chosen.end if last else max(chosen.start, 0.0 if wanted.now else wanted.start)
    text = f"{'Speech' if when else 'Yes: speech'} was heard by {chosen.device_id} at {clock(moment)}."
    return _said(request, text, moment if when else True, _SPOKE, [chosen], reason)


def _said(
    request: AnswerRequest, text: str, value: bool | float, sure: float, pieces: list[Evidence], reason: str
) -> Answer:
    return Answer(
        question_id=request.question.question_id,
        outcome=Outcome.ANSWERED,
        text=text,
        confidence=sure,
        value=value,
        evidence=tuple(pieces),
        placement=request.placement,
        reason=reason,
    )
