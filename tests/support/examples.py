"""How Hypothesis tries its examples where each of them takes a whole job."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

__all__ = ["repeatable"]


def repeatable(count: int) -> settings:
    """Return settings for `count` examples, the same ones in every run, however long each takes."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
