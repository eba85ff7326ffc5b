"""Vision-language models of the real classes, tiny, with weights as chance wants, as folders of a hub look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXT = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 4096,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 0,
}
CONTROL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SMOL_CONTROL = ("<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<global-img>", "<image>", "<r>")
IMAGE = 256 + 4  # the id of <|image_pad|> and of <image>


def qwen2_5(folder: Path) -> Path:
    """Patches of 4 pixels, merged by 2 × 2: a picture of 32 × 24 pixels is 4 × 3 tokens."""
    import transformers

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 4,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    }
    config = transformers.Qwen2_5_VLConfig(text_config={**TEXT, **_rope([4, 6, 6])}, vision_config=vision, **_tokens())
    return _saved(transformers.Qwen2_5_VLForConditionalGeneration(config), folder, CONTROL, _qwen_pictures())


def qwen3(folder: Path) -> Path:
    """As `qwen2_5`, with features of a vision layer added to the language model's first one."""
    import transformers

    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_heads": 2,
        "out_hidden_size": 64,
        "patch_size": 4,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    config = transformers.Qwen3VLConfig(text_config={**TEXT, **_rope([4, 6, 6])}, vision_config=vision, **_tokens())
    return _saved(transformers.Qwen3VLForConditionalGeneration(config), folder, CONTROL, _qwen_pictures())


def smolvlm(folder: Path) -> Path:
    """Tiles of 32 pixels: 2 × 2 tokens each."""
    import transformers

    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    text = {**TEXT, "model_type": "llama"}
    config = transformers.SmolVLMConfig(
        text_config=text, vision_config=vision, image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    )
    pictures = {
        "image_processor_type": "SmolVLMImageProcessor",
        "size": {"longest_edge": 64},
        "max_image_size": {"longest_edge": 32},
        "do_image_splitting": True,
        "do_pad": True,
    }
    return _saved(transformers.SmolVLMForConditionalGeneration(config), folder, SMOL_CONTROL, pictures)


FAMILIES = {"qwen2_5": qwen2_5, "qwen3": qwen3, "smolvlm": smolvlm}


def make(name: str, folder: Path) -> Path:
    """The folder of one family, filled; its tokens are bytes, and no byte ends a turn."""
    import torch

    torch.manual_seed(5)
    return FAMILIES[name](folder)


def _rope(sections: list[int]) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "mrope_section": sections, "rope_theta": 10_000.0}}


def _tokens() -> dict[str, Any]:
    return {
        "image_token_id": IMAGE,
        "video_token_id": IMAGE + 1,
        "vision_start_token_id": 258,
        "vision_end_token_id": 259,
    }


def _qwen_pictures() -> dict[str, Any]:
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": 4,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 64, "longest_edge": 4096},
    }


def _saved(model: Any, folder: Path, control: tuple[str, ...], pictures: dict[str, Any]) -> Path:
    import torch

    with torch.no_grad():
        # As initialised all scores are all but equal; spread, the greedy choice is one that rounding does not turn.
        model.lm_head.weight.normal_(0.0, 1.0)
    model.generation_config.eos_token_id = 257
    model.save_pretrained(folder)
    _tokenizer(control).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return folder


def _tokenizer(control: tuple[str, ...]) -> Any:
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spelled = Tokenizer(models.BPE(vocab={sign: number for number, sign in enumerate(alphabet)}, merges=[]))
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelled.decoder = decoders.ByteLevel()
    spelled.add_special_tokens(list(control))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=spelled, eos_token=control[1])
