"""Fewer bits for a language model's weights, by torchao, and for its cache of keys and values, by transformers.

In: a model, the name of a quantisation. Out: the model changed in place, or a cache; NotSupported in one sentence
where this machine or this model cannot. The vision tower and the output head keep their precision: small, and tied to
the embeddings. Quality after it was measured with no real weights: calibrate the gate anew. Next: `folder.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, util
from typing import Any, Literal

from foveate.errors import InvalidInput, NotReady, NotSupported

Weights = Literal["none", "w4a16", "w8a8"]
Cache = Literal["none", "int4", "int8", "fp8"]

_GROUP = 32
"""Weights that share a scale: divides the widths of all three families."""

_BACKENDS = {"int4": ("hqq", "quanto"), "int8": ("hqq",), "fp8": ("fp8",)}
_PACKAGES = {"quanto": "optimum.quanto", "hqq": "hqq"}
_BITS = {"int4": 4, "int8": 8}


def quantise(language_model: Any, weights: str, *, device: str) -> str:  # noqa: ANN401
    """Quantises its linear layers in place; the name of the kernel that serves them, empty for none.

    W8A8 is Int8DynamicActivationInt8WeightConfig. W4A16 is Int4WeightOnlyConfig (tinygemm) on CUDA; a CPU has no such
    kernel in torchao 0.18, so there it is IntxWeightOnlyConfig: the same four bits a weight, each kept in a byte.
    """
    if weights == "none":
        return ""
    if weights not in ("w4a16", "w8a8"):
        raise InvalidInput(f"There is no quantisation {weights!r}; give none, w4a16 or w8a8.")
    torch, recipes = import_module("torch"), _torchao("torchao.quantization")
    language_model.requires_grad_(False)
    kernel, config = _recipe(torch, recipes, weights, device=device)
    try:
        recipes.quantize_(language_model, config, filter_fn=_linear(torch, _GROUP))
    except (ImportError, NotImplementedError, RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise NotSupported(f"{weights} cannot be had on {device} ({reason}); use another quantisation.") from error
    return str(kernel)


def cache_for(config: Any, kind: str) -> Callable[[], Any]:  # noqa: ANN401
    """Makes the cache of one generation; NotSupported now rather than at the first question.

    `config` is the model's. int4 needs hqq or optimum-quanto (which compiles C++ at its first use), int8 needs hqq, fp8
    nothing more.
    """
    caches = import_module("transformers").cache_utils
    text = config.get_text_config(decoder=True)
    if kind == "none":
        return lambda: caches.DynamicCache(config=text)
    if kind not in _BACKENDS:
        raise InvalidInput(f"There is no cache {kind!r}; give none, int4, int8 or fp8.")
    backend = next((name for name in _BACKENDS[kind] if _importable(name)), None)
    if backend is None:
        needed = " or ".join({"quanto": "optimum-quanto"}.get(name, name) for name in _BACKENDS[kind])
        raise NotSupported(f"A cache in {kind} needs {needed}; install it, or set the cache to none or fp8.")
    options = {"nbits": _BITS[kind]} if kind in _BITS else {}

    def make() -> Any:  # noqa: ANN401
        return caches.QuantizedCache(backend, text, **options)

    try:
        make()
    except (ValueError, ImportError) as error:
        raise NotSupported(
            f"A cache in {kind} does not fit this model, whose layers do not all attend to everything; set it to none."
        ) from error
    return make


def _recipe(torch: Any, recipes: Any, weights: str, *, device: str) -> tuple[str, Any]:  # noqa: ANN401
    if weights == "w8a8":
        return "Int8DynamicActivationInt8Weight", recipes.Int8DynamicActivationInt8WeightConfig()
    if device.startswith("cuda"):
        packed = "tile_packed_to_4d"
        return "Int4WeightOnly", recipes.Int4WeightOnlyConfig(group_size=_GROUP, int4_packing_format=packed)
    group = _torchao("torchao.quantization.granularity").PerGroup(_GROUP)
    return "IntxWeightOnly", recipes.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=group)


def _linear(torch: Any, group: int) -> Callable[[Any, str], bool]:  # noqa: ANN401
    def fits(module: Any, name: str) -> bool:  # noqa: ANN401
        return isinstance(module, torch.nn.Linear) and module.in_features % group == 0

    return fits


def _importable(backend: str) -> bool:
    package = _PACKAGES.get(backend)
    if package is None:
        return True
    try:
        return util.find_spec(package) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def _torchao(name: str) -> Any:  # noqa: ANN401
    try:
        return import_module(name)
    except ImportError as error:
        message = "Quantised weights need torchao, which cannot be imported here; run `pip install 'foveate[vlm]'`."
        raise NotReady(message, reason="EXTRA_MISSING") from error
