"""Texts that every backend can store."""

from __future__ import annotations

from contextlib import suppress

__all__ = ["cut", "is_lossy", "storable_text"]


def cut(text: str, length: int) -> str:
    """Return a text for a message; the mark where it is cut is how masks know that a credential may end there."""
    return text if len(text) <= length else f"{text[:length]}..."


def storable_text(text: str) -> str:
    """Return a text without lone surrogates and NUL: PostgreSQL refuses both, and so does Marquez.

    In the C locale Python may read the bytes of a non-ASCII argument or variable as lone surrogates. They become the
    characters that they are in UTF-8, and `?` where they are none.
    """
    if text.isascii() and "\x00" not in text and type(text) is str:
        return text
    return _decoded(text).replace("\x00", "\ufffd")


def _decoded(text: str) -> str:
    with suppress(UnicodeEncodeError):  # it also has surrogates that are not bytes of anything
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return text.encode("utf-8", "replace").decode("utf-8")


def is_lossy(text: str, stored: str) -> bool:
    """Return whether characters of `text` became question marks in `stored`, its storable form."""
    return stored != text and stored.count("?") > text.count("?")
