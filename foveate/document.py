"""A document that a person writes: YAML or JSON whose top level is a mapping.

In: a file's path or its text. Out: plain mappings, lists and values, or InvalidInput with the place of the mistake.
Keys stay as they are written, for YAML takes `on` and `no` for booleans, and none may stand twice. It knows no key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from foveate.errors import InvalidInput, NotFound


def read(path: Path, *, what: str) -> dict[str, Any]:
    """The mapping in a file; `what` says in errors what the file is, such as "fleet plan".

    Raises NotFound for no file and InvalidInput for one that cannot be read, is no YAML or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"There is no {what} {path}; name a file that exists.", path=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The {what} {path} is not text; name another file.", path=str(path)) from error
    except OSError as error:
        raise InvalidInput(
            f"The {what} {path} cannot be read ({error.strerror}); name a file.", path=str(path)
        ) from error
    return parse(text, source=f"The {what} {path}")


def parse(text: str, *, source: str) -> dict[str, Any]:
    """The mapping that `text` holds; `source` begins the sentence of an InvalidInput."""
    try:
        document = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mistake = " ".join(_mistake(error).split())
        raise InvalidInput(f"{source} is neither YAML nor JSON ({mistake}); correct it.") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{source} is not a mapping; write `key: value` lines.")
    return document


def _mistake(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return str(error) if mark is None else f"line {mark.line + 1}: {getattr(error, 'problem', error)}"


class _Loader(yaml.SafeLoader):
    """YAML in which keys are words, and a key that stands twice is a mistake: the second would undo the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep=deep)
        written: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key.start_mark)
            if key.value in written:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` stands twice", key.start_mark
                )
            written.add(key.value)
        self.flatten_mapping(node)  # `<<` takes over another mapping's keys; what is written here counts more
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}
