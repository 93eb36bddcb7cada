"""Percent-encoding, as `urllib.parse` does it.

Not by that module itself: with its `ipaddress` it would make the first line of every job 3 ms later; and imported only
when there is something to encode, it would be missing where no memory is left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["percent_decoded", "percent_encoded"]


def percent_encoded(text: str) -> str:
    """Return a text as `urllib.parse.quote` with nothing safe does."""
    return _replaced(rb"[^\w.~-]", lambda found: b"%%%02X" % found[0][0], text)


def percent_decoded(text: str) -> str:
    """Return a text as `urllib.parse.unquote` does."""
    return _replaced(rb"%([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text)


def _replaced(pattern: bytes, replacement: Callable[[re.Match[bytes]], bytes], text: str) -> str:
    return re.sub(pattern, replacement, text.encode("utf-8", "replace")).decode("utf-8", "replace")
