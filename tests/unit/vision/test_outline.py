"""Outlines: their boxes, models by name, and EdgeTAM with a tiny model of the real class and random weights."""

from __future__ import annotations

import importlib.util
import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveate.errors import InvalidInput, NotFound, NotReady
from foveate.vision.boxes import Box
from foveate.vision.outline import Outline, open_outliner

SIDE, WIDE = 128, 128  # memories have 64 channels whatever the configuration says
WITH_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
needs_torch = pytest.mark.skipif(not WITH_TORCH, reason="the extra `edgetam` is not installed")


def test_the_box_is_the_least_one_around_the_mask() -> None:
    mask = np.zeros((10, 20), bool)
    assert Outline(mask, 0.1).box is None
    mask[2:5, 4:14] = True
    assert Outline(mask, 0.9).box == Box(0.2, 0.2, pytest.approx(0.5), pytest.approx(0.3))


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="edgetam"):
        open_outliner("sam-9", tmp_path)


def test_a_folder_without_a_model_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"config\.json"):
        open_outliner("edgetam", tmp_path)


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(NotReady, match=r"foveate\[edgetam\]"):
        open_outliner("edgetam", tmp_path)


def _vision(backbone: str) -> dict[str, Any]:
    sizes = {"backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]], "fpn_hidden_size": WIDE}
    if backbone == "repvit":
        options = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
        timm = {
            "model_type": "timm_wrapper",
            "architecture": "repvit_m1",
            "model_args": options,
            "num_classes": 2,
            "label_names": ["one", "other"],
        }
        return {"model_type": "edgetam_vision_model", "backbone_config": timm, **sizes}
    hiera = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 2, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 4, 4, 4],
        "global_attention_blocks": [4],
    }
    widths = {"backbone_channel_list": [64, 32, 16, 8]}
    return {"model_type": "sam2_vision_model", "backbone_config": hiera, **widths, **sizes}


def _tiny(folder: Path, backbone: str = "hiera") -> Path:
    """The real class, small, weights as chance wants."""
    import torch
    import transformers

    torch.manual_seed(5)
    config = transformers.EdgeTamVideoConfig(
        vision_config=_vision(backbone),
        prompt_encoder_config={"hidden_size": WIDE, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": WIDE, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        image_size=SIDE,
        num_maskmem=3,
        max_object_pointers_in_encoder=5,
        memory_attention_hidden_size=WIDE,
        memory_attention_mlp_hidden_size=32,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_attention_rope_k_sizes=[2, 2],
        perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4,
        perceiver_resampler_hidden_size=64,
        perceiver_resampler_mlp_intermediate_size=16,
        perceiver_resampler_attention_head_dim=64,
        memory_encoder_hidden_size=WIDE,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=WIDE,
        memory_fuser_embed_dim=WIDE,
        memory_fuser_intermediate_dim=32,
    )
    transformers.EdgeTamVideoModel(config).save_pretrained(folder)
    return folder


def _picture(seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 255, (60, 90, 3), np.uint8)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it wanted the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _has_timm() -> bool:
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError):  # a torchvision that does not fit its torch raises the latter
        return False
    return True


HERE, THERE = Box(0.2, 0.2, 0.3, 0.4), Box(0.5, 0.5, 0.3, 0.3)


@needs_torch
@pytest.mark.usefixtures("no_network")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backbone", ["hiera", "repvit"])
def test_things_are_followed_from_their_boxes_in_bounded_memory(tmp_path: Path, backbone: str) -> None:
    if backbone == "repvit" and not _has_timm():
        pytest.skip("timm cannot be imported")
    model: Any = open_outliner("edgetam", _tiny(tmp_path, backbone))
    assert model.look(_picture(0)) == {}
    assert set(model.look(_picture(1), prompts={7: HERE})) == {7}
    for seed in range(2, 14):
        prompts = {8: THERE} if seed == 4 else {7: HERE} if seed > 6 else None
        found = model.look(_picture(seed), prompts=prompts)
        assert set(found) == ({7} if seed < 4 else {7, 8})
        for outline in found.values():
            assert (outline.mask.shape, outline.mask.dtype) == ((60, 90), np.dtype(bool))
            assert 0.0 <= outline.score <= 1.0
    for session in model._sessions.values():
        (outputs,) = session.output_dict_per_obj.values()
        assert len(outputs["cond_frame_outputs"]) <= 4
        assert len(outputs["non_cond_frame_outputs"]) <= 5
        assert sum("maskmem_features" in kept for kept in outputs["non_cond_frame_outputs"].values()) <= 3
        assert session.processed_frames == {}
    model.forget(7)
    model.forget(99)
    assert set(model.look(_picture(20))) == {8}
    model.reset()
    assert model.look(_picture(21)) == {}


@needs_torch
@pytest.mark.usefixtures("no_network")
@pytest.mark.filterwarnings("ignore")
def test_what_is_dropped_was_not_attended_to(tmp_path: Path) -> None:
    """The same outlines as from a model whose session keeps everything."""
    pruned: Any = open_outliner("edgetam", _tiny(tmp_path))
    whole: Any = open_outliner("edgetam", tmp_path)
    whole._prune = lambda session: None
    for seed in range(12):
        prompts = {1: HERE} if seed == 0 else None
        (one,), (other,) = (model.look(_picture(seed), prompts=prompts).values() for model in (pruned, whole))
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.score == pytest.approx(other.score, abs=1e-6)


@needs_torch
@pytest.mark.usefixtures("no_network")
@pytest.mark.filterwarnings("ignore")
def test_a_prompt_says_what_is_followed(tmp_path: Path) -> None:
    model = open_outliner("edgetam", _tiny(tmp_path))
    one = model.look(_picture(1), prompts={1: HERE, 2: THERE})
    assert one[1].score != one[2].score


@needs_torch
@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = open_outliner("edgetam", _tiny(tmp_path))
    with pytest.raises(InvalidInput, match="covers nothing"):
        model.look(_picture(1), prompts={1: Box(1.5, 0.2, 0.2, 0.2)})
    with pytest.raises(InvalidInput, match="uint8"):
        model.look(np.zeros((4, 4), np.uint8), prompts={1: HERE})
    with pytest.raises(InvalidInput, match="at most 32"):
        model.look(_picture(1), prompts=dict.fromkeys(range(33), HERE))
    assert model.look(_picture(1)) == {}


@needs_torch
@pytest.mark.filterwarnings("ignore")
def test_weights_that_do_not_fit_are_never_filled_with_chance(tmp_path: Path) -> None:
    import safetensors.torch

    path = _tiny(tmp_path) / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    del weights["no_memory_embedding"]
    safetensors.torch.save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(NotReady, match="not those of EdgeTAM"):
        open_outliner("edgetam", tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(NotReady, match="cannot be opened"):
        open_outliner("edgetam", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(NotReady):
        open_outliner("edgetam", tmp_path)
