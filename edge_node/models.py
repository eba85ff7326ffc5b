"""The networks of one edge: which there are, where they come from, and which are opened only when first needed.

In: settings. Out: `Models`: the detector and the sentence encoder, open; reader, voice detector, recogniser and picture
encoder on demand; what looks at key frames in a process of its own; the site's vision-language model, if it has one.
Next: `build.py`, which hands them to those who use them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from edge_node import perceive
from edge_node.perceive import Lazily, Perceive
from edge_node.read import open_reader
from edge_node.senses import Senses
from edge_node.settings import Settings
from edge_node.transcribe import Recogniser, Whisper
from edge_node.vlm.configure import Opened
from foveate import models
from foveate.errors import NotReady
from foveate.hearing import SileroVad
from foveate.recall import Sentences
from foveate.text import TextEncoder
from foveate.vision.detect import Detector, NanoDet
from foveate.vision.encode import Encoder, LiteEncoder


@dataclass(frozen=True, slots=True)
class Models:
    """The embedded default and what a site adds; `detector_tag` is its `name@revision`.

    `perceive` is called in a process of its own, so that it must be a plain function or a partial of one; None gathers
    nothing. `vlm` is None where the site has no vision-language model.
    """

    detector: Detector
    text: Sentences | None
    detector_tag: str = ""
    senses: Senses = field(default_factory=Senses)
    perceive: Callable[[], Perceive] | None = None
    encoder: Encoder | None = None
    vlm: Opened | None = None


def of(chosen: Settings, *, vlm: Opened | None = None) -> Models:
    """The models of the settings; detector and sentence encoder are opened now, so that the first question is not the
    slowest. Blocking, about a second."""
    found = models.find("nanodet-g")
    encoder = LiteEncoder(models.find("efficientnet-lite0"), models.find("imagenet-minilm"))
    return Models(
        detector=NanoDet(found),
        text=TextEncoder(models.find("minilm-l6-v2"), models.find("minilm-tokenizer")),
        detector_tag=found.tag,
        senses=Senses(
            reader=Lazily(partial(open_reader, chosen.text_model)).get,
            voice=Lazily(lambda: SileroVad(models.find("silero-vad"))).get,
            recogniser=Lazily(partial(_recogniser, chosen)).get,
            encoder=lambda: encoder,
        ),
        perceive=partial(perceive.embedded, text_folder=chosen.text_model, speech_folder=chosen.speech_model),
        encoder=encoder,
        vlm=vlm,
    )


def _recogniser(chosen: Settings) -> Recogniser:
    if chosen.speech_model is None:
        raise NotReady("Speech is found but not transcribed here; name a Whisper model by FOVEATE_EDGE_SPEECH_MODEL.")
    return Whisper(chosen.speech_model)
