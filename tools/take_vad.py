"""Take `silero-vad-16k.onnx` out of the published wheel, unchanged, after its hash was checked.

In: the wheel `silero_vad-6.2.3-py3-none-any.whl`. Out: the network that takes many chunks in one run.

    python -m tools.take_vad --wheel silero_vad-6.2.3-py3-none-any.whl --out silero-vad-16k.onnx
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path

WHEEL_SHA256 = "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"
MEMBER = "silero_vad/data/silero_vad_16k_sequence.onnx"


def main() -> None:
    """Check and copy."""
    parser = argparse.ArgumentParser(description="Take the voice detector out of its wheel.")
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    size = take(options.wheel, options.out)
    print(f"{options.out}: {size} bytes")


def take(wheel: Path, out: Path) -> int:
    """Writes the network and returns its size; SystemExit when the wheel is another one."""
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise SystemExit(f"{wheel} has SHA-256 {digest}, not {WHEEL_SHA256}; fetch silero-vad 6.2.3.")
    with zipfile.ZipFile(wheel) as archive:
        return out.write_bytes(archive.read(MEMBER))


if __name__ == "__main__":
    main()
