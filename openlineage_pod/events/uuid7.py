"""Run ids: UUIDs of version 7 (RFC 9562)."""

from __future__ import annotations

import os
import time

__all__ = ["new_uuid7"]


def new_uuid7() -> str:
    """Return a new UUIDv7: its first 48 bits are the time in milliseconds, so that ids sort by time.

    Written out here because the standard library has it only since Python 3.14, and openlineage-python's costs 200 ms.
    """
    bits = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    digits = f"{bits:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
