"""Handing a run over to the processes that multiprocessing starts by spawn or forkserver.

Such a process is a new interpreter. Its environment is that of its parent process, and names the parent of the runs
there. What multiprocessing itself hands over this way (its authentication key) stands in the configuration of the
current process, which every process object copies and takes along when it is pickled for the child. So do we.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Describe = Callable[[], dict[str, str]]

__all__ = ["hand_over", "handed_over"]

# The one of the standard library, and those derived from it.
_MODULES = ("multiprocessing.process", "multiprocess.process", "billiard.process")
_KEY = "openlineage_pod"


class _CurrentRun:
    """Pickled as a dictionary of the variables that name the run that is current then; a child needs no import for it.

    Without a run it is what this process itself was handed over.
    """

    def __init__(self, describe: Describe, inherited: dict[str, str]) -> None:
        self._describe = describe
        self._inherited = inherited

    def __reduce__(self) -> Any:
        variables = self._inherited
        with suppress(Exception):
            variables = self._describe() or variables
        return dict, (variables,)


class _Watch:
    """Hands over in the middle of a later import of such a module, before its first process object is made.

    It stands in `sys.meta_path`, finds nothing, and stays there: to take a finder out while another thread goes through
    that list could make it miss the next one.
    """

    def __init__(self, describe: Describe) -> None:
        self._describe = describe

    def find_spec(self, _name: str, _path: object = None, _target: object = None) -> None:
        _hand_over(self._describe)


_watch: _Watch | None = None
_done: set[str] = set()


def hand_over(describe: Describe) -> None:
    """Hand the run that is current when a process starts over to it; `describe` returns the variables that name it."""
    global _watch  # noqa: PLW0603
    if _watch is None:
        _watch = _Watch(describe)
        sys.meta_path.insert(0, _watch)
    _done.clear()  # a forked child has another configuration
    _hand_over(describe)


def _hand_over(describe: Describe) -> None:
    for name in _MODULES:
        if name not in _done and (config := _configuration(name)) is not None:
            if not isinstance(config.get(_KEY), _CurrentRun):
                config[_KEY] = _CurrentRun(describe, config.get(_KEY) or {})
            _done.add(name)


def handed_over() -> dict[str, str]:
    """Return the variables that name the run that this process was handed over; none if it was not."""
    configurations = [config for name in _MODULES if (config := _configuration(name)) is not None]
    return next((found for each in configurations if isinstance(found := each.get(_KEY), dict)), {})


def _configuration(name: str) -> dict[str, Any] | None:
    module = sys.modules.get(name)
    if module is None:
        return None
    # None if it is being imported at the moment.
    config = getattr(getattr(module, "current_process", lambda: None)(), "_config", None)
    return config if isinstance(config, dict) else None
