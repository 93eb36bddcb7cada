"""Opening a log of any kind as text: plain or compressed, told by its first bytes and not by its name."""

from __future__ import annotations

import importlib
import io
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Log", "UnreadableLogError", "open_log"]

_ZSTD_MODULES = ("compression.zstd", "zstandard", "backports.zstd", "pyzstd")
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Below this share of control characters a file without a NUL is text.
_MAX_CONTROLS = 0.02
_CONTROLS = bytes(code for code in range(32) if code not in b"\a\b\t\n\v\f\r\x1b")
_HEAD = 4096


class UnreadableLogError(Exception):
    """The file is compressed in a way that this environment cannot read; the message says what to install."""


class Log(NamedTuple):
    """A log that is open.

    Attributes:
        lines: its lines, in whatever encoding; what cannot be decoded is replaced.
        is_text: whether it looks like text. Something that is not may hold events all the same.

    """

    lines: Iterator[str]
    is_text: bool


@contextmanager
def open_log(path: str) -> Iterator[Log]:
    """Open the log at a path, or the standard input (`-`).

    Raises:
        OSError: It cannot be opened.
        UnreadableLogError: It is compressed in a way that cannot be read here.

    """
    with open(0 if path == "-" else path, "rb", closefd=path != "-") as raw:
        head = raw.peek(_HEAD)
        content: Any = raw
        for magic, opener in _COMPRESSIONS:
            if head.startswith(magic):
                # Not buffered once more: what stands in front of the damage would be lost with it.
                content = opener(raw)
                head = content.peek(_HEAD)
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS if head.startswith(mark)), "")
        if encoding[-2:] in ("16", "32") and b"\x00" not in head[4:]:
            encoding = ""  # other bytes that begin so: a log may hold any
        with io.TextIOWrapper(content, encoding=encoding or "utf-8", errors="replace") as lines:
            yield Log(lines, is_text=bool(encoding) or _is_text(head))


def _is_text(head: bytes) -> bool:
    controls = len(head) - len(head.translate(None, _CONTROLS))
    return b"\x00" not in head and controls <= _MAX_CONTROLS * len(head)


def _library(module: str) -> Callable[[IO[bytes]], Any]:
    """Return what opens files by a module of the standard library, which a Python may have been built without."""

    def opener(raw: IO[bytes]) -> Any:
        try:
            return importlib.import_module(module).open(raw, "rb")
        except ImportError as error:
            raise UnreadableLogError(f"is compressed, and this Python has no module {module}") from error

    return opener


def _zstd(raw: IO[bytes]) -> Any:
    for name in _ZSTD_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "zstandard":  # its open() stops behind the first frame
            return io.BufferedReader(_Zstd(raw, module.ZstdDecompressor()))
        return module.open(raw, "rb")
    raise UnreadableLogError("is compressed with zstd; `pip install zstandard` makes it readable")


class _Zstd(io.RawIOBase):
    """Reads all frames of a file; the readers of `zstandard` take one that breaks off for the end."""

    def __init__(self, raw: IO[bytes], decompressor: Any) -> None:
        self._raw = raw
        self._decompressor = decompressor
        self._frame: Any = None
        self._ahead = b""
        self._content = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes.

        Raises:
            EOFError: The file ends within a frame.

        """
        while not self._content and (data := self._ahead or self._raw.read(_HEAD)):
            self._frame = self._frame or self._decompressor.decompressobj()
            self._content = self._frame.decompress(data)
            self._ahead = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        if not self._content and self._frame is not None:
            raise EOFError("Compressed file ended before the end of a frame")
        size = min(len(buffer), len(self._content))
        buffer[:size], self._content = self._content[:size], self._content[size:]
        return size


_COMPRESSIONS: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", _library("gzip")),
    (b"BZh", _library("bz2")),
    (b"\xfd7zXZ\x00", _library("lzma")),
    (b"\x28\xb5\x2f\xfd", _zstd),
)
