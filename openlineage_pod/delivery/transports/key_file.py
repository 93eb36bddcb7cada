"""An API key in a file that somebody rotates: a Kubernetes secret that is mounted, or what a Vault agent renders."""

from __future__ import annotations

import os

from openlineage_pod._guard import logger
from openlineage_pod.delivery.transports.address import clean_key
from openlineage_pod.delivery.transports.base import status_of
from openlineage_pod.events.regular_file import read_regular
from openlineage_pod.events.secrets import SECRETS

__all__ = ["KeyFile", "KeyRefusedError"]

_MAX_KEY_BYTES = 64 * 1024


class KeyFile:
    """The key in a file, read again whenever the file has changed.

    A missing or empty file is one warning and no error, because an agent may write it later; `subPath` mounts never
    change.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._key = self._fault = ""
        self._version: tuple[int, ...] | None = None
        self._has_warned = False

    @property
    def key(self) -> str:
        """The key as it stands in the file now, or the last one known while the file cannot be read."""
        try:
            # Kubernetes and Vault replace the file, so its inode changes, too.
            status = os.stat(self.path)
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._version:
                # A pipe would wait for a writer, and a device might never end.
                text = read_regular(self.path, _MAX_KEY_BYTES, follow=True).decode()
                SECRETS.add([text])  # before any request uses it: the backend may quote it
                key = clean_key(text)
                self._key, self._fault, self._version = "" if key.fault else key.value, key.fault, version
            fault = self._fault or "is empty"
        except (OSError, ValueError) as error:
            self._version = None
            reason = getattr(error, "strerror", None) or (error if isinstance(error, OSError) else type(error).__name__)
            fault = f"cannot be read ({reason})"
        if not self._key and not self._has_warned:
            self._has_warned = True
            logger.warning("the API key file %s %s; until it has a key, events are sent without", self.path, fault)
        return self._key

    @property
    def whereabouts(self) -> str:
        """Where the key comes from, for a message, or that there was none to send."""
        return f"the key is that in {self.path}" if self._key else f"{self.path} has no key yet"

    def forget(self) -> None:
        """Read the file again next time, whatever its time stamp says: the backend refused the key."""
        self._version = None


class KeyRefusedError(Exception):
    """401 or 403 for a key from a file: transient, because whoever rotates keys will write the right one."""

    @classmethod
    def raise_for(cls, error: Exception, key: object) -> None:
        """Raise if `error` is a 401 or 403 for a key from a file, and have the file read again."""
        if isinstance(key, KeyFile) and status_of(error) in (401, 403) and getattr(error, "blames_key", True):
            key.forget()
            raise cls(f"{error} ({key.whereabouts})") from error
