"""From sentences to unit vectors: MiniLM-L6-v2, INT8, the space in which ConSE's picture vectors live too.

In: texts in English (the weights know little else). Out: float32 n × 384. It does not know what is compared
with what. Next: the edge's memory, which searches with these vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from foveate.errors import NotReady
from foveate.inference import open_session
from foveate.models import ModelFile

DIMENSIONS = 384
LONGEST = 256
"""Tokens; the weights were trained on at most that many, and what follows is cut off."""


class TextEncoder:
    """all-MiniLM-L6-v2 (Reimers and Gurevych 2019; Wang et al. 2020): mean of the tokens, then unit
    length."""

    def __init__(self, model: ModelFile, tokenizer: ModelFile, *, threads: int = 1) -> None:
        self.model = model
        self._session = open_session(model, threads=threads)
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer.path))
        except Exception as error:  # the library raises bare Exception
            raise NotReady(
                f"The tokenizer at {tokenizer.path} cannot be read; name a tokenizer.json of the same model.",
                model=tokenizer.name,
            ) from error
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()

    @property
    def model_tag(self) -> str:
        """`name@revision` for every row that carries one of these vectors."""
        return self.model.tag

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 n × 384 of unit length, row i for text i; 0 × 384 for no text. Blocking."""
        if not texts:
            return np.zeros((0, DIMENSIONS), np.float32)
        return np.concatenate([self._one(text) for text in texts])

    def _one(self, text: str) -> NDArray[np.float32]:
        # Alone, not in a batch: the INT8 net scales activations by their largest, so batch mates would
        # change the vector of a text; and one by one is no slower (700 against 358 texts a second).
        encoded = self._tokenizer.encode(text)
        ids = np.array([encoded.ids], np.int64)
        mask = np.ones_like(ids)
        (vectors,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit
