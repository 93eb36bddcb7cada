"""Texts that survive Airflow's template engine (Jinja): as JSON, with or without templates in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["PREFIX", "literal_json", "templated_json"]

PREFIX = "OPENLINEAGE_"
"""What the names of all variables begin with; the macro `env` adds it."""


def templated_json(value: Any, *, rendered: bool = True) -> str:
    """Return a template that renders to `value` as JSON.

    Jinja itself quotes what a template renders to, because that may hold any character that JSON escapes. In other
    texts Jinja never sees a brace, so a text that only looks like a template stays as it is.

    DAGs with `render_template_as_native_obj` turn what reads as a Python literal into a value. The space at the start
    keeps the JSON a text.

    Args:
        value: JSON-ready data.
        rendered: Whether templates in its texts are rendered; False: they stay as they are.

    """
    return f" {_templated(value, rendered)}"


def _templated(value: Any, rendered: bool) -> str:
    if isinstance(value, Mapping):
        items = (f"{literal_json(str(key))}: {_templated(each, rendered)}" for key, each in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_templated(each, rendered) for each in value)}]"
    if rendered and isinstance(value, str) and ("{{" in value or "{%" in value):
        return f"{{% filter tojson %}}{value}{{% endfilter %}}"
    return literal_json(value)


def literal_json(value: Any) -> str:
    """Return the JSON of a scalar without a brace, so that Jinja finds no template in it."""
    return json.dumps(value).replace("{", "\\u007b")
