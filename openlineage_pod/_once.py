"""A token that exactly one caller takes."""

from __future__ import annotations

__all__ = ["Once"]


class Once:
    """Gives True to exactly one caller of `take`, also among threads and signal handlers that interrupt each other.

    No lock: a signal handler that interrupts the holder of one would wait for it for ever.
    """

    __slots__ = ("_token",)

    def __init__(self) -> None:
        self._token = [True]

    def take(self) -> bool:
        """Return True to the first caller, and False to every later one."""
        try:
            return self._token.pop()  # atomic in CPython
        except IndexError:
            return False

    def put_back(self) -> None:
        """Let the next caller of `take` have it: the one who took it was interrupted."""
        self._token.append(True)

    @property
    def is_taken(self) -> bool:
        """Whether somebody has taken it."""
        return not self._token
