"""Run ids: UUIDs of version 7 (RFC 9562)."""

from __future__ import annotations

import os
import time

__all__ = ["new_uuid7"]

_RANDOM_BYTES = 10
# How many ids are made of one read of random bytes: each read makes the job wait for the interpreter.
_IDS_OF_A_READ = 32
_drawn: list[bytes] = []
os.register_at_fork(after_in_child=_drawn.clear)


def new_uuid7() -> str:
    """Return a new UUIDv7: its first 48 bits are the time in milliseconds, so that ids sort by time.

    Written out here because the standard library has it only since Python 3.14, and openlineage-python's costs 200 ms.
    """
    bits = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(_random_bytes(), "big")
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _random_bytes() -> bytes:
    try:
        return _drawn.pop()  # atomic in CPython
    except IndexError:
        read = os.urandom(_RANDOM_BYTES * _IDS_OF_A_READ)
        first, *others = (read[start : start + _RANDOM_BYTES] for start in range(0, len(read), _RANDOM_BYTES))
        _drawn.extend(others)
        return first
