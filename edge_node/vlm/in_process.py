"""Qwen2.5-VL, Qwen3-VL and SmolVLM in this process, by `transformers`; a `Vlm`. Needs the extra `vlm`.

In: prompts. Out: what the model wrote, with log-probabilities. Visual tokens beyond a budget are dropped before the
language model. Not run so far: any real weights, and CUDA. The tests run tiny models of the real classes with random
weights, which shows that the parts fit and says nothing of quality, speed or memory. A JSON Schema is told to the
model, not enforced. Next: `edge_node/gate.py`; `folder.py`, `families.py`, `token_dropping.py`, `greedy.py` serve it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_node.vlm.families import Pictures
from edge_node.vlm.folder import Opened, needed, open_folder
from edge_node.vlm.greedy import Ends, write
from edge_node.vlm.seam import Prompt, Said
from edge_node.vlm.token_dropping import Chooses, Embedded, WithinBudget, dropped, kept
from foveate.errors import DeadlinePassed, FoveateError, InvalidInput, NotReady, Overloaded

if TYPE_CHECKING:
    from edge_node.vlm.configure import Config

_RETRY_S = 5.0


def open_model(config: Config) -> TransformersVlm:
    """The model that a site's configuration names. Blocking: seconds to minutes."""
    if config.weights is None:
        raise InvalidInput("The configuration names no weights; set `path` to their folder.")
    weights = config.weights
    opened = open_folder(weights.path, device=weights.device, weights=weights.quantisation, kv_cache=weights.cache)
    return TransformersVlm(
        opened,
        tag=config.tag,
        at_once=config.limits.at_once,
        queue=config.limits.waiting,
        choose=WithinBudget(config.allowance.budget),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """One generation: when it is late, and whether anybody still waits for it."""

    deadline: float
    left: threading.Event

    def check(self) -> None:
        if self.left.is_set() or time.monotonic() >= self.deadline:
            raise _late()


class TransformersVlm:
    """A model in this process; `at_once` generations run in threads, `queue` more wait, any further are refused."""

    def __init__(
        self, opened: Opened, *, tag: str, at_once: int = 1, queue: int = 8, choose: Chooses | None = None
    ) -> None:
        """`choose` says which visual tokens the language model sees, all of them without it."""
        self._opened, self._tag, self._choose = opened, tag, choose
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="vlm")
        self._most, self._taken = at_once + queue, 0
        self._lock = threading.Lock()
        self._torch = needed("torch")

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        revision: str,
        name: str = "",
        device: str = "cpu",
        weights: str = "none",
        kv_cache: str = "none",
        threads: int | None = None,
        at_once: int = 1,
        queue: int = 8,
        visual_tokens: int | None = None,
    ) -> TransformersVlm:
        """The model in `folder`, called `name` (by default as the folder). Blocking: seconds to minutes.

        `weights`: none, w4a16, w8a8. `kv_cache`: none, int4, int8, fp8. `threads` is torch's, for the whole process.
        `visual_tokens` is the budget of one prompt past which LongVU's stages drop some. Raises NotReady, NotSupported.
        """
        if threads is not None:
            needed("torch").set_num_threads(threads)
        opened = open_folder(folder, device=device, weights=weights, kv_cache=kv_cache)
        squeezed = "".join(f"+{one}" for one in (weights, f"kv-{kv_cache}") if not one.endswith("none"))
        choose = None if visual_tokens is None else WithinBudget(visual_tokens)
        tag = f"{name or folder.name}@{revision}{squeezed}"
        return cls(opened, tag=tag, at_once=at_once, queue=queue, choose=choose)

    @property
    def tag(self) -> str:
        """See `Vlm.tag`."""
        return self._tag

    @property
    def sees(self) -> bool:
        """See `Vlm.sees`."""
        return True

    async def say(self, prompt: Prompt, *, timeout: float) -> Said:
        """See `Vlm.say`. A generation that nobody waits for ends at its next token."""
        call = _Call(time.monotonic() + timeout, threading.Event())
        future = self._submitted(prompt, call)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise _late() from error
        finally:
            call.left.set()

    def close(self) -> None:
        """Takes no more; what runs ends at its own pace."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _submitted(self, prompt: Prompt, call: _Call) -> Future[Said]:
        with self._lock:
            if self._taken >= self._most:
                message = f"The model {self._tag} has {self._taken} questions before this one; ask again later."
                raise Overloaded(message, retry_after=_RETRY_S)
            self._taken += 1
        future = self._threads.submit(self._said, prompt, call)
        future.add_done_callback(self._freed)
        return future

    def _freed(self, _: Future[Said]) -> None:
        with self._lock:
            self._taken -= 1

    def _said(self, prompt: Prompt, call: _Call) -> Said:
        with self._torch.inference_mode(), _memory(self._torch):
            call.check()
            whole, pictured = self._embedded(prompt)
            call.check()
            part = whole
            if self._choose is not None and pictured.tiles:
                visual = whole.embeddings[0][whole.pictured].float().cpu().numpy()
                part = dropped(whole, kept(pictured.tiles, visual, self._choose))
            said = self._written(prompt, part, call)
        visual_tokens = int(whole.pictured.sum())
        told: dict[str, Any] = {"visual_tokens": visual_tokens, "visual_tokens_dropped": whole.length - part.length}
        if self._opened.kernel:
            told["kernel"] = self._opened.kernel
        return replace(said, prompt_tokens=part.length, details={**said.details, **told})

    def _embedded(self, prompt: Prompt) -> tuple[Embedded, Pictures]:
        """The whole prompt with its pictures, if it fits the model."""
        family = self._opened.family
        try:
            pictures = family.pictures(prompt.shown)
        except ValueError as error:  # the processors' word for a shape that they do not take
            raise InvalidInput(f"A picture does not fit the model ({error}); cut it to another shape.") from error
        ids = self._opened.turns.ids(prompt, pictures.texts)
        if len(ids) + prompt.most_tokens > self._opened.context:
            raise InvalidInput(
                f"The prompt has {len(ids)} tokens and {prompt.most_tokens} are to be written, more than the "
                f"{self._opened.context} of the model {self._tag}; show fewer pictures or ask something shorter."
            )
        return family.embedded(self._torch.tensor([ids]), pictures), pictures

    def _written(self, prompt: Prompt, part: Embedded, call: _Call) -> Said:
        family, cache = self._opened.family, self._opened.cache()
        position = part.ends

        def step(token: int) -> Any:  # noqa: ANN401
            nonlocal position
            scores = family.logits(family.single(token, position), cache)
            position += 1
            return scores

        return write(
            family.logits(part, cache),
            step=step,
            decode=self._opened.decode,
            ends=Ends(self._opened.ends, prompt.stop, prompt.most_tokens),
            check=call.check,
        )


@contextlib.contextmanager
def _memory(torch: Any) -> Any:  # noqa: ANN401
    """A prompt that does not fit into memory is refused in words, and the model stays usable."""
    try:
        yield
    except FoveateError:
        raise
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise Overloaded("The model has no memory left for this prompt; show fewer pictures.") from error
        raise NotReady(f"The model failed ({str(error).splitlines()[0]}); open it anew.") from error


def _late() -> DeadlinePassed:
    return DeadlinePassed("The model did not finish in time; give it more time, or ask for less.")
