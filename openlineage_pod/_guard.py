"""The one boundary between our errors and the job: what we raise by mistake ends here, as one log line."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from openlineage_pod._stderr import BoundedHandler

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ConfigurationError", "guarded", "logger"]

logger = logging.getLogger("openlineage_pod")
logger.addHandler(BoundedHandler(logger))

# The tests' fixture replaces it with one that remembers the errors, so that none hides behind the boundary.
swallowed: list[Exception] | None = None


class ConfigurationError(ValueError):
    """A wrong or missing setting. Raised only with `OPENLINEAGE_POD_STRICT=true`, else it is a warning."""


@contextmanager
def guarded(doing: str) -> Iterator[None]:
    """Turn any `Exception` of the block into one warning that names what we were `doing`.

    `ConfigurationError` passes: it exists only in strict mode, where the user asked for it. So does every
    `BaseException` that is no `Exception`: a KeyboardInterrupt belongs to the job, wherever it arrives.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        if swallowed is not None:
            swallowed.append(error)
        try:
            logger.warning("could not %s (%s: %s); the job goes on without it", doing, type(error).__name__, error)
        except Exception:
            # A log handler of the job that raises must not reach the job through us either.
            return
