"""The error that Python reported last because nobody handled it: in a cell of a notebook, or at the end of a script."""

from __future__ import annotations

import sys

__all__ = ["UnhandledErrors", "is_interactive"]


class UnhandledErrors:
    """What Python has reported since this object was made."""

    def __init__(self) -> None:
        self._before = _last()

    def latest(self) -> BaseException | None:
        """Return the last error that nobody handled in the meantime, if there was one."""
        last = _last()
        return last if last is not self._before else None


def is_interactive() -> bool:
    """Return whether code is entered piece by piece, as in IPython and its notebooks, so that errors do not end all."""
    return hasattr(sys, "ps1")


def _last() -> BaseException | None:
    last: BaseException | None = getattr(sys, "last_value", None)
    return last
