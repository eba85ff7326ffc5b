"""Build ConSE's dictionary: the names of the 1000 ImageNet classes, and one MiniLM vector for each.

In: torchvision's `models/_meta.py`, read as text and never run, and the carried MiniLM. Out:
`imagenet-classes.json` and `imagenet-minilm.npy` (float16 1000 x 384, unit length before rounding).

    python -m tools.build_classes --meta torchvision/models/_meta.py --out FOLDER
"""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path

import numpy as np

from foveate import models
from foveate.text import TextEncoder

PROMPT = "a photo of a {}"


def main() -> None:
    """Read the names, embed each one's prompt and save both."""
    parser = argparse.ArgumentParser(description="Embed the ImageNet class names with MiniLM.")
    parser.add_argument("--meta", type=Path, required=True, help="torchvision/models/_meta.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for both files")
    options = parser.parse_args()
    names = read_names(options.meta)
    (options.out / "imagenet-classes.json").write_text(json.dumps(names), "utf-8")
    encoder = TextEncoder(models.find("minilm-l6-v2"), models.find("minilm-tokenizer"))
    vectors = encoder.encode([PROMPT.format(name) for name in names])
    np.save(options.out / "imagenet-minilm.npy", vectors.astype(np.float16))
    print(f"{options.out}: {len(names)} classes")


def read_names(meta: Path) -> list[str]:
    """The list `_IMAGENET_CATEGORIES` of a torchvision `_meta.py`; SystemExit when it is not there."""
    for statement in ast.parse(meta.read_text("utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "_IMAGENET_CATEGORIES":
            names: list[str] = ast.literal_eval(statement.value)
            return names
    raise SystemExit(f"{meta} holds no _IMAGENET_CATEGORIES; give models/_meta.py of torchvision 0.28.")


if __name__ == "__main__":
    main()
