"""Whether the schema that a question sets for its answer can be used at all.

In: JSON text, or nothing. Out: nothing, or InvalidInput with the field and what to do. That it is a valid JSON Schema
is for the node to check that fills it. It knows no question's text; `understand` is next.
"""

from __future__ import annotations

import json

from foveate.errors import InvalidInput

_FIELD = "constraints.answer_schema"


def refuse_broken_schema(schema: str) -> None:
    """InvalidInput unless the schema is empty or a JSON object."""
    if not schema:
        return
    try:
        document = json.loads(schema)
    except (ValueError, RecursionError) as error:
        where = f": line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidInput(f"The schema is not JSON{where}; correct it.", field=_FIELD) from error
    if not isinstance(document, dict):
        raise InvalidInput('The schema is JSON but no object; write one such as {"type": "object"}.', field=_FIELD)
