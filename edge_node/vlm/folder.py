"""A folder with the weights of a vision-language model, opened: checked, quantised, on its device.

In: a folder as Hugging Face lays them out (config.json, *.safetensors, tokenizer.json, preprocessor_config.json).
Out: an `Opened`, or NotReady/NotSupported in one sentence. Nothing is fetched and no code of the folder is run.
Pictures are prepared by the classes of transformers that need no torchvision. Next: `in_process.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_node.vlm.families import Family, Qwen, SmolVlm
from edge_node.vlm.quantise import cache_for, quantise
from edge_node.vlm.turns import Turns
from foveate.errors import InvalidInput, NotReady, NotSupported

_FAMILIES: dict[str, tuple[str, str, Callable[[Any, Any, str], Family]]] = {
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "Qwen2VLImageProcessorPil", Qwen),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "Qwen2VLImageProcessorPil", Qwen),
    "smolvlm": ("SmolVLMForConditionalGeneration", "SmolVLMImageProcessorPil", SmolVlm),
}


@dataclass(frozen=True, slots=True)
class Opened:
    """A model, ready to write."""

    family: Family
    turns: Turns
    cache: Callable[[], Any]
    decode: Callable[[list[int]], str]
    ends: frozenset[int]
    context: int
    """Tokens that it can read and write together."""
    kernel: str
    """What serves quantised weights, empty for none."""


def open_folder(folder: Path, *, device: str = "cpu", weights: str = "none", kv_cache: str = "none") -> Opened:
    """The model in `folder`. Takes seconds to minutes, and memory for the weights at full precision once."""
    names = _family_names(folder)
    torch, transformers = needed("torch"), needed("transformers")
    _check_device(torch, device)
    model = _model(torch, getattr(transformers, names[0]), folder, device=device)
    make_cache = cache_for(model.config, kv_cache)
    tokenizer = _read(folder, "tokenizer.json", transformers.PreTrainedTokenizerFast)
    processor = _read(folder, "preprocessor_config.json", getattr(transformers, names[1]))
    image_token = str(tokenizer.convert_ids_to_tokens(int(model.config.image_token_id)))
    family = names[2](model, processor, image_token)
    kernel = quantise(family.language_model, weights, device=device)

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    _take_template(tokenizer, folder)
    return Opened(
        family=family,
        turns=Turns(tokenizer, image_token=image_token, template=family.template),
        cache=make_cache,
        decode=decode,
        ends=_ends(model, tokenizer),
        context=int(model.config.get_text_config(decoder=True).max_position_embeddings),
        kernel=kernel,
    )


def needed(package: str) -> ModuleType:
    """The package; NotReady names the extra that brings it."""
    try:
        return import_module(package)
    except (ImportError, RuntimeError) as error:
        message = f"{package} cannot be imported here; run `pip install 'foveate[vlm]'` for models in this process."
        raise NotReady(message, reason="EXTRA_MISSING", package=package) from error


def _family_names(folder: Path) -> tuple[str, str, Callable[[Any, Any, str], Family]]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise NotReady(f"There is no model in {folder}; put its config.json and *.safetensors there.") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in _FAMILIES:
        known = ", ".join(_FAMILIES)
        raise NotSupported(f"The model in {folder} is {kind!r}; this process runs {known}, others behind a server.")
    return _FAMILIES[kind]


def _check_device(torch: Any, device: str) -> None:  # noqa: ANN401
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput(f"There is no device {device!r}; give cpu, cuda or cuda:NUMBER.") from error
    if wanted.type not in ("cpu", "cuda"):
        raise InvalidInput(f"Models run on cpu or cuda here, not on {device}; give one of the two.")
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise NotReady("torch finds no CUDA device here; set the device to cpu, or install a build of torch for CUDA.")


def _model(torch: Any, kind: Any, folder: Path, *, device: str) -> Any:  # noqa: ANN401
    try:
        model, told = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,  # a pickle could run code
            output_loading_info=True,
            dtype="auto",
            attn_implementation="sdpa",
        )
    except Exception as error:  # damaged files and unfit packages raise whatever their reader thinks of
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotReady(f"The model in {folder} cannot be opened: {reason}", folder=str(folder)) from error
    if told["missing_keys"] or told["mismatched_keys"]:
        # transformers fills such gaps with random numbers, which would write nonsense with confidence.
        raise NotReady(f"The weights in {folder} are not complete; get the folder anew.", folder=str(folder))
    if device == "cpu" and model.dtype == torch.float16:
        model = model.float()  # CPUs have no fast arithmetic in half precision, and some none at all
    return model.to(device).eval()


def _read(folder: Path, file: str, kind: Any) -> Any:  # noqa: ANN401
    if not (folder / file).is_file():
        raise NotReady(f"There is no {file} in {folder}; get it from where the weights are from.", folder=str(folder))
    try:
        return kind.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # as above
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotReady(f"{file} in {folder} cannot be read: {reason}", folder=str(folder)) from error


def _take_template(tokenizer: Any, folder: Path) -> None:  # noqa: ANN401
    """Older folders keep the chat template in a file that only transformers' processors read."""
    file = folder / "chat_template.json"
    if tokenizer.chat_template or not file.is_file():
        return
    try:
        tokenizer.chat_template = str(json.loads(file.read_text("utf-8"))["chat_template"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotReady(f"chat_template.json in {folder} cannot be read; get it anew.", folder=str(folder)) from error


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:  # noqa: ANN401
    """The tokens that end a turn: of the generation settings, the configuration and the tokenizer."""
    text, ends = model.config.get_text_config(decoder=True), set[int]()
    for told in (model.generation_config.eos_token_id, text.eos_token_id, tokenizer.eos_token_id):
        ends |= {told} if isinstance(told, int) else set(told or ())
    return frozenset(ends)
