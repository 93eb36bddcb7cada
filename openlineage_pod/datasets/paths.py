"""Path objects: their URIs or local paths, without any I/O.

`os.fspath()` is no safe question: cloudpathlib and fsspec answer it with the path of a local copy that they download.
"""

from __future__ import annotations

from contextlib import suppress
from os import PathLike
from os.path import abspath
from typing import Any

from openlineage_pod._redaction.names import compiled
from openlineage_pod.datasets.uri import EXAMPLES, NotUnderstoodError, is_connection_string
from openlineage_pod.events.percent import percent_decoded

__all__ = ["is_path", "path_text"]

# What has a local path as its text, and nothing else.
_LOCAL_MODULES = ("pathlib", "posix", "nt", "py")
# Path("s3://bucket/key") has one slash left, and does not name a file of this machine.
_NO_LOCAL_PATH = r"(?i)jdbc:|[a-z][\w+.\-]+:/"


def is_path(source: Any) -> bool:
    """Return whether an object is a path, or a file that is named by a URI."""
    return isinstance(source, PathLike) or callable(getattr(source, "as_uri", None)) or "://" in _full_name(source)


def _full_name(source: Any) -> str:
    """Return the URI of a file of fsspec."""
    name = getattr(source, "full_name", "")
    return name if isinstance(name, str) else ""


def path_text(path: Any) -> str:
    """Return the URI of a path object, or the absolute path of a local file.

    What was a URI before it became a local path is returned as the text that it is now.

    Raises:
        NotUnderstoodError: `path` does not tell without I/O where it is.

    """
    modules = [base.__module__.partition(".")[0] for base in type(path).__mro__]
    if modules[0] in _LOCAL_MODULES:
        local = getattr(path, "path", None) or str(path)  # os.DirEntry has its path in an attribute
        return local if compiled(_NO_LOCAL_PATH).match(local) or is_connection_string(local) else abspath(local)
    text = str(path)
    if "://" in text:
        return text
    uri, is_pathlib = _uri(path), "pathlib" in modules
    if "://" in uri and not (is_pathlib and uri.startswith("file:")):
        return percent_decoded(uri) if is_pathlib else uri  # s3path quotes it, as pathlib does
    if "/" in text and not text.startswith("<"):
        return abspath(text)
    raise NotUnderstoodError(f"{type(path).__name__} does not tell its URI; give a text such as {EXAMPLES}")


def _uri(path: Any) -> str:
    with suppress(Exception):  # as_uri() of a relative path
        return str(path.as_uri())
    return _full_name(path)
