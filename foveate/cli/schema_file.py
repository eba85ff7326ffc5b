"""The JSON Schema that an answer's document has to fulfil, from a file.

In: a path. Out: the schema's text, checked before anything is sent: readable, at most 16 KiB, a JSON object, and a
valid JSON Schema where the package jsonschema is installed. Knows no question; `questions` is next.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from foveate.errors import InvalidInput
from foveate.wire.questions import MAX_SCHEMA


def read_schema(path: Path) -> str:
    """The text of the file; InvalidInput with what to do when it cannot be used."""
    try:
        with path.open("rb") as file:
            found = file.read(MAX_SCHEMA + 1)
    except OSError as error:
        raise InvalidInput(f"The schema {path} cannot be read ({error.strerror}); name a file.") from error
    if len(found) > MAX_SCHEMA:
        raise InvalidInput(f"The schema {path} is larger than {MAX_SCHEMA // 1024} KiB; shorten it.")
    try:
        text = found.decode("utf-8")
        document = json.loads(text)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The schema {path} is no text in UTF-8; save it as such.") from error
    except (ValueError, RecursionError) as error:
        where = f", line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(f"The schema {path} is not JSON{where}; correct it.") from error
    if not isinstance(document, dict):
        raise InvalidInput(f'The schema {path} is no JSON object; begin with {{"type": "object"}}.')
    _refuse_no_schema(document, path)
    return text


def _refuse_no_schema(document: dict[str, Any], path: Path) -> None:
    """InvalidInput for JSON that is no JSON Schema (2020-12); the node that fills it checks that again."""
    try:
        from jsonschema import Draft202012Validator  # no part of the plain command line
        from jsonschema.exceptions import SchemaError
    except ImportError:
        return
    try:
        Draft202012Validator.check_schema(document)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise InvalidInput(f"The schema {path} is no JSON Schema: at {place}, {error.message[:200]}.") from error
    except RecursionError as error:
        raise InvalidInput(f"The schema {path} is nested too deeply; make it flatter.") from error
