"""Texts that every backend can store."""

from __future__ import annotations

__all__ = ["is_lossy", "storable_text"]


def storable_text(text: str) -> str:
    """Return a text without lone surrogates and NUL: PostgreSQL refuses both, and so does Marquez.

    In the C locale Python may read the bytes of a non-ASCII argument or variable as lone surrogates. They become the
    characters that they are in UTF-8.
    """
    if text.isascii() and "\x00" not in text and type(text) is str:
        return text
    return _decoded(text).replace("\x00", "\ufffd")


def _decoded(text: str) -> str:
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that are not bytes of anything
        encoded = text.encode("utf-8", "replace")
    return encoded.decode("utf-8", "replace")


def is_lossy(text: str, stored: str) -> bool:
    """Return whether `stored`, the storable form of `text`, lacks characters of it."""
    return stored != text and ("\ufffd" in stored or stored.count("?") != text.count("?"))
