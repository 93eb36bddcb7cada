"""How Hypothesis tries its examples where each of them takes a whole job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["fast", "repeatable"]


def fast(cases: Iterable[Any], *names: Any) -> list[Any]:
    """Return parameters of which the fast suite takes those named, and the slow one their siblings.

    A case is a value, or a tuple with one for each argument.
    """
    found = list(cases)
    assert set(names) <= set(found), names
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if case in names else pytest.mark.slow)
        for case in found
    ]


def repeatable(count: int) -> settings:
    """Return settings for `count` examples, the same ones in every run, however long each takes."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
