"""For the tests of your own jobs: see which lineage events a piece of code reports.

from openlineage_pod.testing import record_events

def test_main_reports_its_output():
    with record_events() as recorded:
        main()
    assert recorded.events[-1]["eventType"] == "COMPLETE"
    assert recorded.events[-1]["outputs"][0]["name"] == "accounts"
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from openlineage_pod.core.runtime import Runtime, replace_runtime
from openlineage_pod.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from openlineage_pod.events.document import Document

__all__ = ["Recorded", "record_events"]

# Recording takes milliseconds; `OPENLINEAGE_POD_FLUSH_TIMEOUT` may be 0 and says nothing about tests.
_FLUSH_TIMEOUT = 10.0


class Recorded:
    """The events reported so far, each as a dictionary in OpenLineage's JSON form, in the order of their delivery."""

    def __init__(self, documents: list[dict[str, Any]], flush: Callable[[float], object]) -> None:
        self._documents = documents
        self._flush = flush

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events so far; waits for the delivery threads."""
        self._flush(_FLUSH_TIMEOUT)
        return list(self._documents)


class _Recorder:
    """Takes events in the place of a backend."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []

    def emit(self, document: Document) -> None:
        self.documents.append(document.fields)

    def clone(self) -> None:
        """Allow no parallel delivery, so that the events keep their order."""

    def close(self) -> None:
        """Keep what was recorded."""


@contextmanager
def record_events(environ: Mapping[str, str] | None = None) -> Iterator[Recorded]:
    """Record the events of all runs in the block instead of delivering them anywhere.

    Args:
        environ: The environment that the runs see; default: that of this process, but for `OPENLINEAGE_DISABLED`.

    Raises:
        ConfigurationError: `environ` has `OPENLINEAGE_POD_STRICT=true` and a wrong setting.

    """
    recorder = _Recorder()
    settings = Settings.from_env(environ)._replace(spool_dir=None)  # whose events would go to the recorder, too
    if environ is None:
        # That variable of the process is for the tests that do not record.
        settings = settings._replace(disabled=False)
    runtime = Runtime.from_settings(settings, connect=lambda _environ: recorder)
    before = replace_runtime(runtime)
    try:
        yield Recorded(recorder.documents, runtime.delivery.flush)
    finally:
        runtime.delivery.flush(_FLUSH_TIMEOUT)
        runtime.delivery.stop()
        replace_runtime(before)
