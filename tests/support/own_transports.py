"""Transports as a job may have of its own: with a queue, with a thread, or with a buffer."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from openlineage.client.serde import Serde
from openlineage.client.transport import Config, Transport

__all__ = ["Batch", "Queued", "Stuck", "Threaded"]


class _OwnConfig(Config):
    """Everything that was configured."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> _OwnConfig:
        return cls(params)


class _Own(Transport):
    config_class = _OwnConfig

    def __init__(self, config: _OwnConfig) -> None:
        self.path = config.params.get("path", "")
        self.failures = int(config.params.get("failures", 0))
        self.seen: list[str] = []

    def write(self, event: Any) -> None:
        """Write an event to the file, after as many failures as were configured."""
        self.seen.append(event.eventType.value)
        if self.failures:
            self.failures -= 1
            raise OSError("not yet")
        with open(self.path, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(f"{Serde.to_json(event)}\n")


class Queued(_Own):
    """Delivers on a thread, after a moment; tells how many have failed, and can be waited for."""

    kind = "queued"

    def __init__(self, config: _OwnConfig) -> None:
        super().__init__(config)
        self.queue: queue.Queue[Any] = queue.Queue()
        self.stats = {"pending": 0, "success": 0, "failed": 0}
        self.delay = float(config.params.get("delay", 0.05))
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            event = self.queue.get()
            time.sleep(self.delay)
            try:
                self.write(event)
                self.stats["success"] += 1
            except OSError:
                self.stats["failed"] += 1
            self.queue.task_done()

    def emit(self, event: Any) -> None:
        self.queue.put(event)

    def wait_for_completion(self, timeout: float = -1) -> bool:
        """Wait for the queue."""
        deadline = time.monotonic() + timeout
        while self.queue.unfinished_tasks:
            if timeout >= 0 and time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def get_stats(self) -> dict[str, int]:
        """Return the counts."""
        return self.stats


class Threaded(Queued):
    """The same, but only its `close` waits."""

    kind = "threaded"
    wait_for_completion = None  # type: ignore[assignment]

    def close(self, timeout: float = -1) -> bool:
        return Queued.wait_for_completion(self, timeout)


class Batch(_Own):
    """Keeps all events until it is closed, which takes no timeout and returns nothing."""

    kind = "batch"

    def __init__(self, config: _OwnConfig) -> None:
        super().__init__(config)
        self.batch: list[Any] = []

    def emit(self, event: Any) -> None:
        self.batch.append(event)

    def close(self) -> None:  # type: ignore[override]
        batch, self.batch = self.batch, []
        for event in batch:
            self.write(event)


class Stuck(Batch):
    """Keeps all events, and its `close` hangs."""

    kind = "stuck"

    def close(self) -> None:  # type: ignore[override]
        threading.Event().wait()
