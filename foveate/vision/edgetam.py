"""EdgeTAM (Zhou et al. 2025, arXiv:2501.07256) as `transformers` has it: boxes in, masks on all that follows.

In: pictures, boxes to begin with, and a folder with weights such as `yonigozlan/EdgeTAM-hf`. Out: `Outline`s. Needs the
extra `edgetam`; nothing is downloaded, not even the backbone's weights. Memory is bounded: for each thing the first
prompt, the last few, and the frames that the model itself still attends to. Next: whoever opened it by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from foveate.errors import InvalidInput, NotReady
from foveate.vision.boxes import Box
from foveate.vision.detect import Picture, check_picture
from foveate.vision.outline import Outline

_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
_BOX_CORNERS = [2, 3]  # SAM's labels of a point that is the top left or bottom right of a box
_MOST_PROMPTS = 4  # for each thing: the first one and the last three
_MOST_THINGS = 32


def open_model(folder: Path) -> EdgeTam:
    """The model in `folder` (`config.json` and weights); NotReady when something is missing. Takes seconds."""
    if not (folder / "config.json").is_file():
        raise NotReady(
            f"There is no EdgeTAM in {folder}; put config.json and model.safetensors of EdgeTAM-hf there.",
            folder=str(folder),
        )
    packages = _needed("torch"), _needed("transformers")
    try:
        model, told = packages[1].EdgeTamVideoModel.from_pretrained(
            str(folder), local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # damaged files and unfit packages raise whatever their reader thinks of
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise NotReady(f"The EdgeTAM in {folder} cannot be opened: {reason}", folder=str(folder)) from error
    if told["missing_keys"] or told["mismatched_keys"]:
        # transformers fills such gaps with random numbers, which would draw masks of nothing.
        raise NotReady(f"The weights in {folder} are not those of EdgeTAM; get the folder anew.", folder=str(folder))
    return EdgeTam(model)


class EdgeTam:
    """Follows up to 32 things; an `Outliner`. Each has a session of its own, the picture's features are shared."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401  (an EdgeTamVideoModel; its package is optional)
        self._model = model.eval()
        self._torch = _needed("torch")
        self._sessions: dict[int, Any] = {}
        self._cache: Any = None
        self._frame = -1
        self._side = _sides(model.config.image_size)
        # A frame's mask is attended to for a while, its pointer for longer (algorithm of SAM 2).
        self._masks_for = int(model.config.num_maskmem)
        self._pointers_for = max(self._masks_for, int(model.config.max_object_pointers_in_encoder))

    def look(self, image: Picture, *, prompts: Mapping[int, Box] | None = None) -> dict[int, Outline]:
        """See `Outliner.look`. Blocking: one pass of the encoder, and for each thing one of memory and decoder."""
        check_picture(image)
        begun = self._checked(prompts or {})
        self._frame += 1
        for thing, box in begun.items():
            self._prompt(thing, box)
        if not self._sessions:
            return {}
        pixels = self._pixels(image)
        found = {thing: self._follow(thing, pixels, image) for thing in list(self._sessions)}
        for session in self._sessions.values():
            self._prune(session)
        return found

    def forget(self, thing: int) -> None:
        """See `Outliner.forget`."""
        self._sessions.pop(thing, None)

    def reset(self) -> None:
        """See `Outliner.reset`."""
        self._sessions, self._cache, self._frame = {}, None, -1

    def _checked(self, prompts: Mapping[int, Box]) -> dict[int, Box]:
        if len(self._sessions.keys() | prompts.keys()) > _MOST_THINGS:
            raise InvalidInput(f"EdgeTAM follows at most {_MOST_THINGS} things here; forget some first.")
        clipped = {thing: box.clipped() for thing, box in prompts.items()}
        for thing, box in clipped.items():
            if box.area <= 0.0:
                raise InvalidInput(f"The box of thing {thing} covers nothing of the picture; give one that does.")
        return clipped

    def _prompt(self, thing: int, box: Box) -> None:
        """The box becomes two labelled corners in the model's own square picture."""
        session = self._sessions.get(thing)
        if session is None:
            session = self._sessions[thing] = self._new_session()
        across, down = self._side
        corners = [[box.left * across, box.top * down], [box.right * across, box.bottom * down]]
        inputs = {
            "point_coords": self._torch.tensor(corners, dtype=self._model.dtype)[None, None],
            "point_labels": self._torch.tensor(_BOX_CORNERS, dtype=self._torch.int32)[None, None],
        }
        session.add_point_inputs(session.obj_id_to_idx(thing), self._frame, inputs)
        session.obj_with_new_inputs = [thing]

    def _new_session(self) -> Any:  # noqa: ANN401
        session = _needed("transformers").EdgeTamVideoInferenceSession(
            inference_device=self._model.device, dtype=self._model.dtype
        )
        self._cache = self._cache or session.cache
        session.cache = self._cache
        return session

    def _pixels(self, image: Picture) -> Any:  # noqa: ANN401
        """1 × 3 × side × side; squashed to a square, as the model was trained."""
        resized = np.asarray(Image.fromarray(image).resize(self._side, Image.Resampling.BILINEAR), np.float32)
        plane = ((resized / 255 - _MEAN) / _STD).transpose(2, 0, 1)[None]
        return self._torch.from_numpy(np.ascontiguousarray(plane)).to(self._model.device, self._model.dtype)

    def _follow(self, thing: int, pixels: Any, image: Picture) -> Outline:  # noqa: ANN401
        out = self._model(self._sessions[thing], frame=pixels, frame_idx=self._frame)
        logits = out.pred_masks.float().cpu().numpy().reshape(-1, *out.pred_masks.shape[-2:])[0]
        height, width = image.shape[:2]
        plane = np.asarray(Image.fromarray(logits).resize((width, height), Image.Resampling.BILINEAR))
        score = 1.0 / (1.0 + math.exp(-float(np.clip(out.object_score_logits.float().reshape(-1)[0].item(), -50, 50))))
        return Outline(plane > 0.0, score)

    def _prune(self, session: Any) -> None:  # noqa: ANN401
        """Drops what the model does not attend to any more; the session itself would keep all pictures for ever."""
        session.processed_frames = {}
        for index, outputs in session.output_dict_per_obj.items():
            prompted, followed = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
            for frame in _surplus(prompted):
                del prompted[frame]
            for frame in [frame for frame in followed if frame <= self._frame - self._pointers_for]:
                del followed[frame]
            for frame, kept in followed.items():
                if frame <= self._frame - self._masks_for:
                    followed[frame] = {"object_pointer": kept["object_pointer"]}
            session.point_inputs_per_obj[index] = {}
            tracked = session.frames_tracked_per_obj[index]
            session.frames_tracked_per_obj[index] = {frame: tracked[frame] for frame in tracked if frame in followed}


def _surplus(frames: Iterable[int]) -> list[int]:
    """All but the first and the last few."""
    known = sorted(frames)
    return known[1 : max(1, len(known) - _MOST_PROMPTS + 1)]


def _sides(size: Any) -> tuple[int, int]:  # noqa: ANN401
    """(width, height) of the model's picture."""
    return (size, size) if isinstance(size, int) else (int(size[1]), int(size[0]))


def _needed(package: str) -> ModuleType:
    try:
        return import_module(package)
    except (ImportError, RuntimeError) as error:
        raise NotReady(
            f"EdgeTAM needs {package}, which cannot be imported here; run pip install 'foveate[edgetam]'.",
            package=package,
        ) from error
