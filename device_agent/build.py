"""Builds a device from its settings and its configuration, with nothing started.

In: `Settings`. Out: every part, joined. Blocking: it opens networks, databases and the camera's file. It starts no
thread and opens no connection: `agent.py` does.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import uuid_utils

from device_agent import configure
from device_agent.answer import Answerer
from device_agent.capture import open_camera
from device_agent.clips import ClipDesk
from device_agent.clock import SteadyClock
from device_agent.command import CommandDesk
from device_agent.frames import Decoder, Inbox
from device_agent.funnel import Funnel
from device_agent.govern import Governor
from device_agent.hear import Ears
from device_agent.ladder import Ladder
from device_agent.look import Looker, OneEye
from device_agent.masked_camera import MaskedCamera
from device_agent.masks import Masks
from device_agent.outbox import Outbox
from device_agent.pipeline import Parts, Pipeline
from device_agent.record import Recorder
from device_agent.report import Release, Reporter
from device_agent.rules import Configuration
from device_agent.sender import Sender
from device_agent.settings import Settings
from device_agent.triggers.all import Triggers
from device_agent.weigh import PacketGate
from foveate import models, residency
from foveate.errors import NotReady
from foveate.hearing import SileroVad
from foveate.vision.detect import NanoDet
from foveate.vision.encode import LiteEncoder


@dataclass(frozen=True, slots=True)
class Device:
    """All that runs."""

    settings: Settings
    parts: Parts
    pipeline: Pipeline
    answerer: Answerer
    desk: ClipDesk
    commands: CommandDesk
    halt: threading.Event


def build(settings: Settings) -> Device:
    """Every part; raises what can never work: a bad video, an unreadable policy, a contradictory configuration."""
    configuration = configure.load(settings.config, ring_bytes=settings.ring_bytes, ring_seconds=settings.ring_seconds)
    policy, data, halt = residency.load(settings.policy), _writable(settings.data_dir), threading.Event()
    sender = Sender(settings.id, settings.site, settings.region, settings.label_words)
    eye, masks = OneEye(NanoDet(models.find("nanodet-g"))), Masks(configuration.masks)
    release = Release(policy, sender)
    parts = _parts(settings, configuration, release=release, sender=sender, eye=eye, masks=masks, halt=halt)
    parts.reporter.close_left_open()
    pipeline = Pipeline(parts)
    desk = ClipDesk(
        parts.recorder,
        detector=eye,
        policy=policy,
        sender=sender,
        edge=settings.edge_grpc,
        folder=data / "clips",
        masks=masks,
    )
    commands = CommandDesk(pipeline, folder=data)
    commands.restore()
    answerer = Answerer(pipeline, detector=eye, policy=policy, sender=sender, now=parts.clock.now)
    return Device(settings, parts, pipeline, answerer, desk, commands, halt)


def _parts(
    settings: Settings,
    configuration: Configuration,
    *,
    release: Release,
    sender: Sender,
    eye: OneEye,
    masks: Masks,
    halt: threading.Event,
) -> Parts:
    data, clock, rules = settings.data_dir, SteadyClock(), configuration.triggers
    encoder = LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm"))
    governor, funnel, decoder = Governor(configuration.budget), Funnel(), Decoder(cover=masks if masks else None)
    looker = Looker(eye=eye, encoder=encoder, funnel=funnel, allowance=lambda: governor.allowance)
    outbox = Outbox(data / "outbox.sqlite", max_bytes=settings.outbox_bytes)
    recorder = Recorder(data / "ring", retention=configuration.recording)
    camera = open_camera(
        settings.source, loop=settings.loop, speed=settings.speed, clock=clock, stop=halt, on_gap=recorder.gap
    )
    return Parts(
        sender=sender,
        camera=MaskedCamera(camera, masks) if configuration.recording.masked_originals else camera,
        recorder=recorder,
        inbox=Inbox(),
        decoder=decoder,
        ladder=Ladder(gate=PacketGate(), decoder=decoder, looker=looker, funnel=funnel, fps=settings.analysis_fps),
        looker=looker,
        ears=Ears(voice=SileroVad(models.find("silero-vad")), rules=rules.sound),
        triggers=Triggers(
            sender,
            rules=rules,
            zones=configuration.zones,
            new_id=lambda: str(uuid_utils.uuid7()),
            meaning=looker.meaning,
        ),
        outbox=outbox,
        reporter=Reporter(outbox, sender=sender, release=release, clock=clock),
        governor=governor,
        funnel=funnel,
        clock=clock,
        masks=masks.names,
    )


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotReady(
            f"{folder} cannot be made ({error.strerror}); set FOVEATE_DEVICE_DATA_DIR to a folder that can be written.",
            path=str(folder),
        ) from error
    return folder
