"""What devices are told and asked: the messages of `device.proto` to the dataclasses of `commands.py` and back.

In: protobuf from anyone, dataclasses from our own code. Out: the other of the two, checked; a reply that carries a
failure raises it.
Knows nothing of transports.
"""

from __future__ import annotations

from collections.abc import Sequence

from foveate import commands as c
from foveate.errors import FoveateError, MalformedMessage
from foveate.v1 import device_pb2 as pb
from foveate.v1 import event_pb2 as event_pb
from foveate.wire.events import embedding_of, embedding_to, priority_of, priority_to
from foveate.wire.fleet import failure_of, failure_to
from foveate.wire.scalars import amount, moment, optional_moment, ordered, timestamp

MOST_TEXTS = 16
"""Sentences that one device watches for: each is compared with every picture that reaches the encoder."""
LONGEST_TEXT = 200
MOST_GAPS = 20


def device_state_to(state: c.DeviceState) -> pb.DeviceState:
    """A device's state, with the newest MOST_GAPS of its gaps."""
    return pb.DeviceState(
        device_id=state.device_id,
        send_time=timestamp(state.time),
        uptime_seconds=state.uptime_s,
        rungs=[_rung_to(rung) for rung in state.rungs],
        cpu_seconds=state.cpu_seconds,
        budget_share=state.budget_share or 0.0,
        used_share=state.used_share,
        given_up=state.given_up,
        kept=[_kept_to(kept) for kept in state.kept],
        gaps=[_gap_to(gap) for gap in state.gaps[-MOST_GAPS:]],
        outbox_depth=state.outbox_depth,
        sequence=state.sequence,
        triggers=state.triggers,
        masks=state.masks,
        trouble=state.trouble,
    )


def device_state_of(message: pb.DeviceState) -> c.DeviceState:
    """A device's state, or MalformedMessage naming the field."""
    return c.DeviceState(
        device_id=_name(message.device_id, "DeviceState.device_id"),
        time=moment(message, "send_time"),
        uptime_s=amount(message.uptime_seconds, "DeviceState.uptime_seconds"),
        rungs=tuple(_rung_of(rung) for rung in message.rungs),
        cpu_seconds=amount(message.cpu_seconds, "DeviceState.cpu_seconds"),
        budget_share=amount(message.budget_share, "DeviceState.budget_share") or None,
        used_share=amount(message.used_share, "DeviceState.used_share"),
        given_up=tuple(message.given_up),
        kept=tuple(_kept_of(kept) for kept in message.kept),
        gaps=tuple(_gap_of(gap) for gap in message.gaps),
        outbox_depth=_count(message.outbox_depth, "DeviceState.outbox_depth"),
        sequence=_count(message.sequence, "DeviceState.sequence"),
        triggers=tuple(message.triggers),
        masks=tuple(message.masks),
        trouble=message.trouble,
    )


def watch_to(watch: c.Watch) -> pb.Watch:
    """The sentences of a device; also how they lie on its disk."""
    return pb.Watch(sentences=[pb.Sentence(text=s.text, embedding=embedding_to(s.embedding)) for s in watch.sentences])


def watch_of(message: pb.Watch) -> c.Watch:
    """At most MOST_TEXTS sentences, each with a vector."""
    texts = _texts([sentence.text for sentence in message.sentences], "Watch.sentences")
    vectors = [embedding_of(sentence.embedding) for sentence in message.sentences]
    return c.Watch(tuple(map(c.Sentence, texts, vectors)))


def device_command_to(command: c.DeviceCommand) -> pb.DeviceCommand:
    """A command for one device."""
    match command:
        case c.TellState():
            return pb.DeviceCommand(tell_state=pb.TellState())
        case c.Press():
            return pb.DeviceCommand(press=pb.Press(about=command.about))
        case c.Watch():
            return pb.DeviceCommand(watch=watch_to(command))
        case c.BackFill():
            return pb.DeviceCommand(
                back_fill=pb.BackFill(after_sequence=command.after_sequence, missing=command.missing)
            )


def device_command_of(message: pb.DeviceCommand) -> c.DeviceCommand:
    """A command for one device, or MalformedMessage naming the field."""
    match message.WhichOneof("command"):
        case "tell_state":
            return c.TellState()
        case "press":
            return _press_of(message.press)
        case "watch":
            return watch_of(message.watch)
        case "back_fill":
            return _back_fill_of(message.back_fill)
        case _:
            raise MalformedMessage("DeviceCommand says nothing that this version knows; update this device.")


def site_command_to(device_id: str, command: c.SiteCommand) -> pb.SiteCommand:
    """A command for a device of a site."""
    match command:
        case c.TellState():
            return pb.SiteCommand(device_id=device_id, tell_state=pb.TellState())
        case c.Press():
            return pb.SiteCommand(device_id=device_id, press=pb.Press(about=command.about))
        case c.WatchTexts():
            return pb.SiteCommand(device_id=device_id, watch_texts=pb.WatchTexts(texts=command.texts))


def site_command_of(message: pb.SiteCommand) -> tuple[str, c.SiteCommand]:
    """For which device, and what; or MalformedMessage naming the field."""
    device = _name(message.device_id, "SiteCommand.device_id")
    match message.WhichOneof("command"):
        case "tell_state":
            return device, c.TellState()
        case "press":
            return device, _press_of(message.press)
        case "watch_texts":
            return device, watch_texts_of(message.watch_texts.texts)
        case _:
            raise MalformedMessage("SiteCommand says nothing that this version knows; update this edge.")


def watch_texts_of(texts: Sequence[str]) -> c.WatchTexts:
    """At most MOST_TEXTS texts of 1 to LONGEST_TEXT characters, without the space around them, each once."""
    return c.WatchTexts(tuple(dict.fromkeys(_texts(texts, "WatchTexts.texts"))))


def command_reply_to(reply: c.Reply | FoveateError) -> pb.DeviceCommandReply:
    """What came of a command."""
    match reply:
        case c.DeviceState():
            return pb.DeviceCommandReply(state=device_state_to(reply))
        case c.Pressed():
            return pb.DeviceCommandReply(pressed=pb.Pressed(event_id=reply.event_id))
        case c.Watching():
            return pb.DeviceCommandReply(watching=pb.Watching(texts=reply.texts))
        case c.BackFilled():
            return pb.DeviceCommandReply(back_filled=pb.BackFilled(resent=reply.resent, gone=reply.gone))
        case FoveateError():
            return pb.DeviceCommandReply(failure=failure_to(reply))


def command_reply_of(message: pb.DeviceCommandReply) -> c.Reply:
    """What came of a command; raises the error that the other side met, or MalformedMessage."""
    match message.WhichOneof("result"):
        case "state":
            return device_state_of(message.state)
        case "pressed":
            return c.Pressed(_name(message.pressed.event_id, "Pressed.event_id"))
        case "watching":
            return c.Watching(tuple(message.watching.texts))
        case "back_filled":
            filled = message.back_filled
            gone = tuple(_count(number, "BackFilled.gone") for number in filled.gone)
            return c.BackFilled(_count(filled.resent, "BackFilled.resent"), gone)
        case "failure":
            raise failure_of(message.failure)
        case _:
            raise MalformedMessage("DeviceCommandReply says nothing that this version knows; update this node.")


def _rung_to(rung: c.Rung) -> pb.Rung:
    return pb.Rung(name=rung.name, seen=rung.seen, passed=rung.passed, cpu_seconds=rung.cpu_seconds)


def _rung_of(message: pb.Rung) -> c.Rung:
    return c.Rung(
        name=_name(message.name, "Rung.name"),
        seen=_count(message.seen, "Rung.seen"),
        passed=_count(message.passed, "Rung.passed"),
        cpu_seconds=amount(message.cpu_seconds, "Rung.cpu_seconds"),
    )


def _kept_to(kept: c.Kept) -> pb.Kept:
    priority = event_pb.PRIORITY_UNSPECIFIED if kept.priority is None else priority_to(kept.priority)
    return pb.Kept(priority=priority, bytes=kept.size_bytes, start_time=timestamp(kept.start))


def _kept_of(message: pb.Kept) -> c.Kept:
    priority = priority_of(message.priority) if message.priority else None
    return c.Kept(priority, _count(message.bytes, "Kept.bytes"), moment(message, "start_time"))


def _gap_to(gap: c.Gap) -> pb.Gap:
    end = timestamp(gap.end) if gap.end is not None else None
    return pb.Gap(start_time=timestamp(gap.start), end_time=end, reason=gap.reason)


def _gap_of(message: pb.Gap) -> c.Gap:
    start, end = moment(message, "start_time"), optional_moment(message, "end_time")
    if end is not None:
        ordered(start, end, "Gap")
    return c.Gap(start, end, message.reason)


def _press_of(message: pb.Press) -> c.Press:
    if len(message.about) > LONGEST_TEXT:
        raise MalformedMessage(
            f"Press.about has {len(message.about)} characters; say it in {LONGEST_TEXT}.", field="about"
        )
    return c.Press(message.about.strip())


def _back_fill_of(message: pb.BackFill) -> c.BackFill:
    after = _count(message.after_sequence, "BackFill.after_sequence")
    if not all(1 <= number <= after for number in message.missing):
        raise MalformedMessage(
            f"BackFill.missing must lie within 1 to {after}; what comes after is sent anyway.", field="missing"
        )
    return c.BackFill(after, tuple(message.missing))


def _texts(texts: Sequence[str], field: str) -> tuple[str, ...]:
    if len(texts) > MOST_TEXTS:
        raise MalformedMessage(
            f"{len(texts)} sentences are more than the {MOST_TEXTS} that a device watches for; send fewer.", field=field
        )
    found = tuple(text.strip() for text in texts)
    if not all(0 < len(text) <= LONGEST_TEXT for text in found):
        raise MalformedMessage(f"A sentence to watch for has 1 to {LONGEST_TEXT} characters; rewrite it.", field=field)
    return found


def _name(value: str, field: str) -> str:
    if not 0 < len(value) <= 64:
        raise MalformedMessage(f"{field} must have 1 to 64 characters; the sender is broken.", field=field)
    return value


def _count(value: int, field: str) -> int:
    if value < 0:
        raise MalformedMessage(f"{field} is {value}; it must be a number from 0 up.", field=field)
    return value
