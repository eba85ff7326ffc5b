"""From one picture to two vectors: what it looks like, and where it lies in the space of sentences.

In: a uint8 RGB picture (a frame or a crop). Out: an `Encoding`. It knows no question: `foveate/text.py` puts
questions into the same space, the edge compares. ConSE is no CLIP: it can only see what resembles the 1000 ImageNet
classes, so colours, roles, printed text, people and emptiness need other channels. Next: the device's `report`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from foveate.errors import NotReady
from foveate.inference import open_session
from foveate.models import ModelFile
from foveate.vision.detect import Picture, check_picture

FEATURES = 1280
CONSE = 384
NEIGHBOURS = 50
"""T of the paper; 50 with the prompt 'a photo of a ...' did better than 10 with bare names (mAP .65 to .50)."""

_SIDE = 224


@dataclass(frozen=True, slots=True)
class Encoding:
    """`features` float32 1280 (likeness of pictures) and `conse` float32 384 (likeness to sentences), unit length."""

    features: NDArray[np.float32]
    conse: NDArray[np.float32]


class Encoder(Protocol):
    """Whatever turns one picture into vectors."""

    @property
    def model_tag(self) -> str:
        """`name@revision` of the vectors; those of two tags are never compared."""
        ...

    def encode(self, image: Picture) -> Encoding:
        """The vectors of `image`; blocking, so callers on an event loop use a thread."""
        ...


class LiteEncoder:
    """EfficientNet-Lite0 and ConSE (Norouzi et al., ICLR 2014, arXiv:1312.5650).

    The 50 likeliest classes' sentence vectors are averaged, weighted by their probabilities.
    """

    def __init__(self, model: ModelFile, classes: ModelFile, *, threads: int = 1) -> None:
        self.model, self.classes = model, classes
        self._session = open_session(model, threads=threads)
        self._input = self._session.get_inputs()[0].name
        self._class_vectors = _class_vectors(classes)

    @property
    def model_tag(self) -> str:
        """`conse-lite0-minilm@1` for the carried pair; foreign weights show in the revision."""
        revisions = dict.fromkeys((self.model.revision, self.classes.revision))
        return f"conse-lite0-minilm@{'+'.join(revisions)}"

    def encode(self, image: Picture) -> Encoding:
        """Both vectors of the whole picture; InvalidInput for anything but uint8 RGB."""
        logits, features = self._session.run(None, {self._input: batch(image)})
        return Encoding(features=_unit(features[0]), conse=_unit(self._conse(logits[0])))

    def _conse(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        odds = np.exp(logits - logits.max())
        likeliest = np.argsort(-odds, kind="stable")[:NEIGHBOURS]
        weights = odds[likeliest] / odds[likeliest].sum()
        mean: NDArray[np.float32] = weights @ self._class_vectors[likeliest]
        return mean


def batch(image: Picture) -> NDArray[np.float32]:
    """1 × 3 × 224 × 224: the whole picture squeezed to a square, since a centre crop would lose both sides."""
    check_picture(image)
    square = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    scaled = (np.asarray(square, np.float32) - 127.0) / 128.0
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def _class_vectors(classes: ModelFile) -> NDArray[np.float32]:
    try:
        vectors = np.load(classes.path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise NotReady(f"The class vectors at {classes.path} cannot be read; name an .npy file.") from error
    if vectors.ndim != 2 or vectors.shape[1] != CONSE:
        raise NotReady(f"The class vectors at {classes.path} are {vectors.shape}, not classes x {CONSE}.")
    floats: NDArray[np.float32] = vectors.astype(np.float32)
    return floats


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    unit: NDArray[np.float32] = (vector / max(length, 1e-12)).astype(np.float32)
    return unit
