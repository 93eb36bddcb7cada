"""The folders of a spool as a border: everybody who shares the directory may put anything into them.

| what lies there | what happens |
|---|---|
| a link, also in the place of a folder | it is never followed |
| a FIFO, socket or device | it is never waited for |
| anything but a regular file, or a huge file | `ForeignFileError`; `Rejected.set_aside` moves it away |
| more files than a process should hold in memory | the first ones count |

Files and folders get the group, and the permission bits for group and others, of the spool directory itself, whatever
the umask is: containers with different users share one spool.
"""

from __future__ import annotations

import errno
import fcntl
import heapq
import os
import stat
from contextlib import contextmanager, suppress
from os.path import join
from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod._guard import logger
from openlineage_pod.events.regular_file import SAFE_FLAGS, ForeignFileError, check_regular, read_descriptor
from openlineage_pod.events.uuid7 import new_uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_FILE_BYTES", "Access", "Folder", "make_directory", "shown"]

MAX_FILE_BYTES = 64 * 1024 * 1024
"""What is larger is not an event."""
# How many names of a folder a process holds in memory.
_MAX_FILES = 100_000
_SAFE = SAFE_FLAGS | os.O_NOFOLLOW
_SAFE_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A directory of which the umask took every permission can be opened by its path alone, and changed by way of /proc.
_PATH_ONLY = getattr(os, "O_PATH", 0)


class Access(NamedTuple):
    """Who may use the files of a spool: the group and the permission bits of its directory."""

    bits: int
    group: int

    @classmethod
    def of(cls, path: str) -> Access:
        """Return what the directory at `path` allows.

        Raises:
            OSError: There is none.

        """
        status = os.stat(path)
        return cls(status.st_mode & (stat.S_ISGID | stat.S_IRWXG | stat.S_IRWXO), status.st_gid)

    def give_to_folder(self, path: str) -> None:
        """Give a folder this group and these bits, where this process may."""
        with suppress(OSError):
            descriptor = os.open(path, _SAFE_FOLDER | _PATH_ONLY)
            try:
                reference: str | int = f"/proc/self/fd/{descriptor}" if _PATH_ONLY else descriptor
                status = os.fstat(descriptor)
                if status.st_gid != self.group:
                    with suppress(OSError):  # not a member of the group
                        os.chown(reference, -1, self.group)
                        status = os.fstat(descriptor)
                if stat.S_IMODE(status.st_mode) != (wanted := stat.S_IRWXU | self.bits):
                    os.chmod(reference, wanted)
            finally:
                os.close(descriptor)

    def give_to_file(self, descriptor: int) -> None:
        """Give a file that this process has just made this group and these bits, but not the right to execute it."""
        status = os.fstat(descriptor)
        if status.st_gid != self.group:
            with suppress(OSError):  # not a member of the group
                os.fchown(descriptor, -1, self.group)
        wanted = stat.S_IRUSR | stat.S_IWUSR | self.bits & 0o066
        if stat.S_IMODE(status.st_mode) != wanted:
            with suppress(OSError):
                os.fchmod(descriptor, wanted)


def make_directory(path: str) -> None:
    """Make a directory that only this user may use, with its parents; whatever the umask is, its owner may use it.

    Raises:
        OSError: It cannot be made.

    """
    missing = []
    path = os.path.realpath(path)  # without a slash at its end
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for number, directory in enumerate(reversed(missing), 1):
        with suppress(FileExistsError):  # another process was quicker
            os.mkdir(directory, 0o700 if number == len(missing) else 0o777)
            mode = stat.S_IMODE(os.lstat(directory).st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(directory, mode | stat.S_IRWXU)


def shown(path: str) -> str:
    """Return a path as a log line may show it: in one line, whatever its name holds."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in path)


class Folder:
    """A folder of a spool. Each method opens it anew, so that one that has vanished or was replaced is noticed.

    Args:
        root: the spool directory, which may be a link: it is the user's own choice.
        name: of the folder.
        access: who may use it.

    """

    def __init__(self, root: str, name: str, access: Access) -> None:
        self.path = join(root, name)
        self._access = access

    def make(self) -> None:
        """Make the folder if it is missing, and let those use it who may use the spool.

        Raises:
            OSError: It cannot be made.

        """
        with suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        self._access.give_to_folder(self.path)
        with self.opened():
            pass

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Yield a descriptor of the folder.

        Raises:
            OSError: It cannot be opened.

        """
        descriptor = self._open()
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        try:
            return os.open(self.path, _SAFE_FOLDER)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
        aside = f"{self.path}.foreign-{new_uuid7()}"
        os.rename(self.path, aside)  # a link itself, not what it leads to
        logger.warning("%s was not a folder; it is set aside as %s", shown(self.path), shown(aside))
        self.make()
        return os.open(self.path, _SAFE_FOLDER)

    # --- its files

    def names(self) -> list[str]:
        """Return the names in the folder; of too many those that sort first.

        Raises:
            OSError: It cannot be read.

        """
        with self.opened() as folder, os.scandir(folder) as found:
            return heapq.nsmallest(_MAX_FILES, (each.name for each in found))

    def foreign_names(self) -> list[str]:
        """Return the names of what is not a regular file or huge.

        Raises:
            OSError: It cannot be read.

        """
        with self.opened() as folder, os.scandir(folder) as found:
            return heapq.nsmallest(_MAX_FILES, (each.name for each in found if not each.is_file(follow_symlinks=False)))

    def size(self) -> int:
        """Return the bytes of its files, without what is not an event by its size; 0 if it cannot be read."""
        total = 0
        with suppress(OSError), self.opened() as folder, os.scandir(folder) as found:
            for each in found:
                with suppress(OSError):
                    status = each.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
                        total += status.st_size
        return total

    def size_of(self, name: str) -> int:
        """Return the bytes of a file.

        Raises:
            OSError: It is not there.

        """
        with self.opened() as folder:
            return os.stat(name, dir_fd=folder, follow_symlinks=False).st_size

    def read(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file.

        Raises:
            ForeignFileError: It is not a regular file, or it is too large.
            OSError: It cannot be read.

        """
        return read_descriptor(self.open(name, os.O_RDONLY), max_bytes)

    def open(self, name: str, flags: int) -> int:
        """Return a descriptor of a regular file that exists.

        Raises:
            ForeignFileError: It is not a regular file.
            OSError: It cannot be opened.

        """
        with self.opened() as folder:
            try:
                return check_regular(os.open(name, flags | _SAFE, dir_fd=folder))
            except OSError as error:
                # What a link, a socket, a folder or a device answers differs: look what it is.
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    raise
                raise ForeignFileError("it is not a regular file") from error

    def create(self, name: str, *, replace: bool = True) -> int:
        """Return a descriptor of a new file, in the place of an old one of that name.

        Raises:
            FileExistsError: There is an old one, and it is not to be replaced.
            OSError: It cannot be made.

        """
        with self.opened() as folder:
            return self._create(name, folder, replace=replace)

    def _create(self, name: str, folder: int, *, replace: bool) -> int:
        # O_EXCL: what another user has put there, perhaps a link to elsewhere, is never written to.
        flags, mode = os.O_RDWR | os.O_CREAT | os.O_EXCL | _SAFE, 0o600 | self._access.bits & 0o066
        try:
            descriptor = os.open(name, flags, mode, dir_fd=folder)
        except FileExistsError:
            if not replace:
                raise
            os.unlink(name, dir_fd=folder)
            descriptor = os.open(name, flags, mode, dir_fd=folder)
        self._access.give_to_file(descriptor)
        return descriptor

    def put(self, name: str, data: bytes, temporary: Folder) -> None:
        """Make a file appear with all its data at once, by way of another folder.

        Raises:
            OSError: It cannot be written.

        """
        with temporary.opened() as source, self.opened() as target:
            try:
                with open(temporary._create(name, source, replace=True), "wb") as file:
                    file.write(data)
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            except OSError:
                with suppress(OSError):
                    os.unlink(name, dir_fd=source)
                raise

    def move(self, name: str, target: Folder, new_name: str = "") -> None:
        """Move what has this name into another folder, whatever it is.

        Raises:
            OSError: It cannot be moved.

        """
        with self.opened() as source, target.opened() as goal:
            os.rename(name, new_name or name, src_dir_fd=source, dst_dir_fd=goal)

    def remove(self, name: str) -> None:
        """Delete a file.

        Raises:
            OSError: It cannot be deleted.

        """
        with self.opened() as folder:
            os.unlink(name, dir_fd=folder)

    def has(self, name: str) -> bool:
        """Return whether there is anything with this name."""
        try:
            self.size_of(name)
        except OSError:
            return False
        return True

    def lock(self, name: str) -> int | None:
        """Return a descriptor that holds the lock of a file; None if another process holds it.

        Raises:
            ForeignFileError: It is not a regular file.
            OSError: It cannot be opened.

        """
        descriptor = self.open(name, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                return None
            raise
        return descriptor
