"""The metadata file: the file of JSON lines in which a command describes its datasets and facets.

`OPENLINEAGE_POD_REPORT` tells the command the path. The module imports little, because the command waits for it.
A line may have the key `format`: what writes it, such as a later release in the image, may know more than this reader.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from openlineage_pod import environment
from openlineage_pod.events.facets import is_facet
from openlineage_pod.events.regular_file import SAFE_FLAGS, check_regular
from openlineage_pod.events.uuid7 import new_uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator
    from logging import Logger

    from openlineage_pod.core.run import RunRecorder

__all__ = ["TEMPORARY_DIRECTORIES", "make_metadata_file", "merge_metadata_file"]

# The last one exists also where the root file system is read-only.
TEMPORARY_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
"""Where the file is made, in this order, if `TMPDIR` is not set or cannot be used."""

# The end of the process must not wait for a huge file; what follows is ignored.
_MAX_METADATA_BYTES = 16 * 1024 * 1024
_DATASET_KINDS = ("input", "output")
_KINDS = (*_DATASET_KINDS, "runFacet", "jobFacet")
_DETAILS = {"schema", "rows", "size", "files", "facets"}
_FORMAT = 1
_EXAMPLE_LINE = '{"output": "s3://lake/accounts", "rows": 10}'


def make_metadata_file() -> str:
    """Make an empty file with a name that nobody can guess, and return its path; empty if no directory allows it."""
    # By hand: the import of tempfile would cost the command 6 ms.
    for directory in filter(None, (os.environ.get(environment.TMPDIR), *TEMPORARY_DIRECTORIES)):
        with suppress(OSError, ValueError):
            path = os.path.join(os.path.abspath(directory), f"openlineage-pod-{new_uuid7()}.jsonl")
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(descriptor, 0o600)  # whatever the umask is, the command may write
            finally:
                os.close(descriptor)
            return path
    return ""


def merge_metadata_file(path: str, run: RunRecorder, deadline: float) -> None:
    """Add the datasets and facets that the command described to its run.

    A line that cannot be used is one warning. Lines that are not read by the deadline are ignored, with a warning.

    Args:
        path: of the file.
        run: of the command.
        deadline: a time of `time.monotonic()`.

    Raises:
        OSError: The file cannot be read.

    """
    # Deferred: the command waits for the imports of this module, and runs already when the file is read.
    from openlineage_pod._guard import logger
    from openlineage_pod.datasets.dataset import dataset

    has_told = False
    for where, line in _read_lines(path, deadline, logger):
        try:
            kind, value, details = _parse(line, where)
        except _NewerLineError as error:
            if not has_told:  # one warning for all of them
                has_told = True
                logger.warning("%s", error)
            continue
        except _UnusableLineError as error:
            logger.warning("%s", error)
            continue
        if kind in _DATASET_KINDS:
            if unknown := details.keys() - _DETAILS:
                logger.warning("%s: unknown keys are ignored: %s", where, ", ".join(sorted(unknown)))
            described = dataset(value, **{key: item for key, item in details.items() if key not in unknown})
            run.add("input" if kind == "input" else "output", described, where)
        else:
            for key, facet in value.items():
                run.add_facet("run" if kind == "runFacet" else "job", key, facet)


def _read_lines(path: str, deadline: float, logger: Logger) -> Iterator[tuple[str, str]]:
    """Yield each line that is not empty, with its place, until the deadline."""
    # The command may have put a pipe or a link in the place of the file.
    descriptor = check_regular(os.open(path, os.O_RDONLY | SAFE_FLAGS | os.O_NOFOLLOW))
    with open(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        lines = file.read(min(size, _MAX_METADATA_BYTES)).split(b"\n")
        is_cut = size > _MAX_METADATA_BYTES
    if is_cut:
        del lines[-1]
    for number, line in enumerate(lines, 1):
        if time.monotonic() > deadline:
            is_cut, lines = True, lines[: number - 1]
            break
        if line.strip():
            yield f"line {number} of {environment.REPORT}", line.decode("utf-8", "replace")
    if is_cut:
        logger.warning("%s is too long; what follows line %d is ignored", environment.REPORT, len(lines))


class _NewerLineError(ValueError):
    """A line that only a later release can read."""


class _UnusableLineError(ValueError):
    """A line that cannot be used; the message names its place and shows a right one."""


def _parse(line: str, where: str) -> tuple[str, Any, dict[str, Any]]:
    """Return the kind of a line, its value (a dataset, or facets by their keys), and its other keys."""
    try:
        described = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _UnusableLineError(f"{where} is no JSON ({error}) and ignored. Example: {_EXAMPLE_LINE}") from error
    if isinstance(described, dict) and (written := described.pop("format", _FORMAT)) != _FORMAT:
        if not isinstance(written, int) or isinstance(written, bool) or written < 1:
            raise _UnusableLineError(f"{where}: format must be an integer from 1 to {_FORMAT}; the line is ignored")
        raise _NewerLineError(
            f"{where} has the format {written}; this release reads formats up to {_FORMAT} and ignores newer lines"
        )
    kinds = [kind for kind in _KINDS if isinstance(described, dict) and kind in described]
    if len(kinds) != 1:
        raise _UnusableLineError(
            f"{where} has none or several of input, output, runFacet and jobFacet, and is ignored. "
            f"Example: {_EXAMPLE_LINE}"
        )
    (kind,) = kinds
    value = described.pop(kind)
    is_facets = isinstance(value, dict) and all(key and is_facet(facet) for key, facet in value.items())
    if kind not in _DATASET_KINDS and not is_facets:
        raise _UnusableLineError(f'{where}: {kind} is no object of facets, such as {{"nominalTime": {{…}}}}')
    return kind, value, described
