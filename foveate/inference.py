"""One ONNX Runtime session the way this project runs it: on the CPU, few threads, never spinning.

In: a `ModelFile`. Out: an open session. It does not know what the network computes. Next:
`vision/detect.py`, `vision/encode.py` and `text.py`, which do.
"""

from __future__ import annotations

import onnxruntime

from foveate.errors import NotReady
from foveate.models import ModelFile


def open_session(model: ModelFile, *, threads: int = 1, one_shape: bool = True) -> onnxruntime.InferenceSession:
    """A session over `model`; NotReady when the file is no network that this ONNX Runtime can load.

    `one_shape` is False for a network whose inputs differ in size: no plan of memory is made for each of them.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A plan for each size kept 230 MB for one picture of 960x704 where 135 MB do, and was slower (PP-OCRv4's detector).
    options.enable_mem_pattern = one_shape
    # On a busy box spinning threads made two threads five times slower than one (12.6 -> 61 ms, Lite0).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions share no root but Exception
        raise NotReady(
            f"The model {model.name} at {model.path} cannot be loaded; name an ONNX file that this build reads.",
            model=model.name,
        ) from error
