"""Reading a file that somebody else may have put there: regular files of a limited size, without waiting."""

from __future__ import annotations

import os
import stat

__all__ = ["SAFE_FLAGS", "ForeignFileError", "check_regular", "read_descriptor", "read_regular"]

SAFE_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
"""What every file is opened with: a FIFO without a writer, or a terminal, must not hold anybody up."""


class ForeignFileError(OSError):
    """What lies there is not a file that can be used; the message says what it is."""


def read_regular(path: str, max_bytes: int, *, follow: bool = False) -> bytes:
    """Return the content of a regular file; never wait for a FIFO or a device.

    Args:
        path: of the file.
        max_bytes: what it may hold.
        follow: also where the path is a link, as the files of Kubernetes' volumes are.

    Raises:
        ForeignFileError: It is not a regular file, or it is too large.
        OSError: It cannot be read.

    """
    flags = os.O_RDONLY | SAFE_FLAGS | (0 if follow else os.O_NOFOLLOW)
    return read_descriptor(check_regular(os.open(path, flags)), max_bytes)


def check_regular(descriptor: int) -> int:
    """Return the descriptor if it is that of a regular file, else close it.

    Raises:
        ForeignFileError: It is something else.

    """
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise ForeignFileError("it is not a regular file")


def read_descriptor(descriptor: int, max_bytes: int) -> bytes:
    """Return what the file of a descriptor holds, and close it.

    Raises:
        ForeignFileError: It is too large.
        OSError: It cannot be read.

    """
    with open(descriptor, "rb") as file:
        is_large = os.fstat(descriptor).st_size > max_bytes
        data = b"" if is_large else file.read(max_bytes + 1)  # it may be growing
    if is_large or len(data) > max_bytes:
        raise ForeignFileError(f"it is larger than {max_bytes} bytes")
    return data
