"""What differs between Qwen2.5-VL, Qwen3-VL and SmolVLM: how pictures become tokens, and where those stand.

In: an opened model, pictures, token ids. Out: the text that stands for each picture, `Embedded` prompts, and logits.
Each calls the model's own parts (vision tower, position index, language model) and none of its `generate`, so that
tokens can be dropped in between. Next: `token_dropping.py` and `in_process.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from edge_node.vlm.seam import Shown
from edge_node.vlm.token_dropping import Embedded, Tile
from foveate.errors import NotReady
from foveate.vision.detect import check_picture

Tensor = Any

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_IDEFICS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures as a vision tower takes them: its tensors, the text in place of each, and their tiles in order."""

    inputs: Mapping[str, Tensor]
    texts: tuple[str, ...]
    tiles: tuple[Tile, ...]


class Family(Protocol):
    """One kind of model."""

    @property
    def template(self) -> str:
        """The Jinja chat template for a folder that brings none."""
        ...

    @property
    def language_model(self) -> Any:  # noqa: ANN401
        """The part that writes."""
        ...

    def pictures(self, shown: Sequence[Shown]) -> Pictures:
        """Resized and cut as the model's own processor does it."""
        ...

    def embedded(self, ids: Tensor, pictures: Pictures) -> Embedded:
        """The whole prompt, no token dropped; `ids` are 1 × S. Runs the vision tower."""
        ...

    def logits(self, part: Embedded, cache: Any) -> Tensor:  # noqa: ANN401
        """Scores of the token that follows `part` (float32, vocabulary); adds `part` to the cache."""
        ...

    def single(self, token: int, position: int) -> Embedded:
        """One written token as the next part."""
        ...


class Qwen:
    """Qwen2.5-VL and Qwen3-VL: any size of picture, M-RoPE, and deepstack features in the latter; a `Family`."""

    template = _CHATML

    def __init__(self, model: Any, processor: Any, image_token: str) -> None:  # noqa: ANN401
        self._model, self._processor, self._image_token = model, processor, image_token
        self._torch = import_module("torch")

    @property
    def language_model(self) -> Any:  # noqa: ANN401
        """See `Family.language_model`."""
        return self._model.model.language_model

    def pictures(self, shown: Sequence[Shown]) -> Pictures:
        """See `Family.pictures`."""
        if not shown:
            return Pictures({}, (), ())
        made = self._processor(images=_checked(shown), return_tensors="pt")
        merged = int(self._model.config.vision_config.spatial_merge_size)
        grids = [(rows // merged, columns // merged) for _, rows, columns in made["image_grid_thw"].tolist()]
        tiles = tuple(Tile(one.device_id, *grid) for one, grid in zip(shown, grids, strict=True))
        return Pictures(dict(made), tuple(self._image_token * tile.tokens for tile in tiles), tiles)

    def embedded(self, ids: Tensor, pictures: Pictures) -> Embedded:
        """See `Family.embedded`."""
        inner, ids = self._model.model, ids.to(self._model.device)
        pictured = ids[0] == self._model.config.image_token_id
        words = inner.get_input_embeddings()(ids)
        deepstack: tuple[Tensor, ...] = ()
        grid = None
        if pictures.tiles:
            grid = pictures.inputs["image_grid_thw"].to(self._model.device)
            seen = inner.get_image_features(
                pictures.inputs["pixel_values"].to(self._model.device, self._model.dtype), grid, return_dict=True
            )
            words = _put(words, pictured, self._torch.cat(tuple(seen.pooler_output)))
            deepstack = tuple(self._torch.cat(layer) for layer in getattr(seen, "deepstack_features", None) or ())
        positions, _ = inner.get_rope_index(ids, pictured[None].int(), image_grid_thw=grid)
        return Embedded(words, positions, pictured, deepstack, int(positions.max()) + 1)

    def logits(self, part: Embedded, cache: Any) -> Tensor:  # noqa: ANN401
        """See `Family.logits`."""
        more = {}
        if part.deepstack and bool(part.pictured.any()):
            more = {"visual_pos_masks": part.pictured[None], "deepstack_visual_embeds": list(part.deepstack)}
        out = self.language_model(
            inputs_embeds=part.embeddings, position_ids=part.positions, past_key_values=cache, use_cache=True, **more
        )
        return self._model.lm_head(out.last_hidden_state[:, -1])[0].float()

    def single(self, token: int, position: int) -> Embedded:
        """See `Family.single`."""
        return _single(self._torch, self._model, token, (3, 1, 1), position)


class SmolVlm:
    """SmolVLM and SmolVLM2: pictures of one size, larger ones cut into tiles and shown once as a whole; a `Family`."""

    template = _IDEFICS

    def __init__(self, model: Any, processor: Any, image_token: str) -> None:  # noqa: ANN401
        self._model, self._processor, self._image_token = model, processor, image_token
        self._torch = import_module("torch")
        self._worded = import_module("transformers.models.smolvlm.processing_smolvlm").get_image_prompt_string

    @property
    def language_model(self) -> Any:  # noqa: ANN401
        """See `Family.language_model`."""
        return self._model.model.text_model

    def pictures(self, shown: Sequence[Shown]) -> Pictures:
        """See `Family.pictures`."""
        if not shown:
            return Pictures({}, (), ())
        # One list of pictures is one prompt to this processor; its rows and columns tell how each was cut.
        made = self._processor(images=[_checked(shown)], return_row_col_info=True, return_tensors="pt")
        each = int(self._model.model.image_seq_len)
        side = math.isqrt(each)
        texts, tiles = [], []
        for one, rows, columns in zip(shown, made["rows"][0], made["cols"][0], strict=True):
            texts.append(self._text(rows, columns, each))
            tiles += [Tile((one.device_id, rows, columns, part), side, side) for part in range(rows * columns + 1)]
        inputs = {name: made[name] for name in ("pixel_values", "pixel_attention_mask") if name in made}
        return Pictures(inputs, tuple(texts), tuple(tiles))

    def embedded(self, ids: Tensor, pictures: Pictures) -> Embedded:
        """See `Family.embedded`."""
        inner, ids = self._model.model, ids.to(self._model.device)
        pictured = ids[0] == self._model.config.image_token_id
        words = inner.get_input_embeddings()(ids)
        if pictures.tiles:
            inputs = {name: tensor.to(self._model.device) for name, tensor in pictures.inputs.items()}
            seen = self._torch.cat(tuple(inner.get_image_features(**inputs, return_dict=True).pooler_output))
            words = _put(words, pictured, seen)
        positions = self._torch.arange(ids.shape[1], device=ids.device)[None]
        return Embedded(words, positions, pictured, (), ids.shape[1])

    def logits(self, part: Embedded, cache: Any) -> Tensor:  # noqa: ANN401
        """See `Family.logits`."""
        out = self.language_model(
            inputs_embeds=part.embeddings, position_ids=part.positions, past_key_values=cache, use_cache=True
        )
        return self._model.lm_head(out.last_hidden_state[:, -1])[0].float()

    def single(self, token: int, position: int) -> Embedded:
        """See `Family.single`."""
        return _single(self._torch, self._model, token, (1, 1), position)

    def _text(self, rows: int, columns: int, each: int) -> str:
        around, whole = "<fake_token_around_image>", "<global-img>"
        return str(
            self._worded(
                rows,
                columns,
                each,
                image_token=self._image_token,
                fake_token_around_image=around,
                global_image_token=whole,
            )
        )


def _single(torch: Any, model: Any, token: int, shape: tuple[int, ...], position: int) -> Embedded:  # noqa: ANN401
    ids = torch.tensor([[token]], device=model.device)
    return Embedded(
        embeddings=model.get_input_embeddings()(ids),
        positions=torch.full(shape, position, device=model.device),
        pictured=torch.zeros(1, dtype=torch.bool, device=model.device),
        deepstack=(),
        ends=position + 1,
    )


def _put(words: Tensor, pictured: Tensor, seen: Tensor) -> Tensor:
    """Visual tokens in the places that the prompt holds for them."""
    if len(seen) != int(pictured.sum()):
        raise NotReady(
            f"The pictures became {len(seen)} tokens where the prompt holds {int(pictured.sum())}; get "
            "preprocessor_config.json, config.json and tokenizer.json from one and the same model."
        )
    return words.masked_scatter(pictured[None, :, None], seen.to(words.dtype))


def _checked(shown: Sequence[Shown]) -> list[Any]:
    for one in shown:
        check_picture(one.picture)
    return [one.picture for one in shown]
