"""One line for each DAG about the tasks that the policy leaves alone: a DAG may have hundreds of them."""

from __future__ import annotations

from typing import Any

from openlineage_pod._guard import logger

__all__ = ["note", "summarise"]

_MAX_NAMES = 5
# Tasks by their DAG, what they lack and why. A DAG is not read to its end where another policy refuses a task.
_noted: dict[tuple[str | None, str, str], list[str]] = {}


def note(task: Any, lacks: str, reason: str) -> None:
    """Remember that the pod of `task` lacks something, and why.

    Args:
        task: of any DAG.
        lacks: continues a sentence about the pod.
        reason: continues a sentence about the task.

    """
    _noted.setdefault((_dag_id(task), lacks, reason), []).append(str(getattr(task, "task_id", None)))


def summarise(task: Any) -> None:
    """Log what was noted if `task` is the last one of its DAG, or is in none."""
    tasks = getattr(getattr(task, "dag", None), "task_dict", None)
    if not _noted or (tasks and next(reversed(tasks)) != task.task_id):
        return
    own = _dag_id(task)
    told = [f"{_listed(names)} {reason}, so {lacks}" for (dag, lacks, reason), names in _noted.items() if dag == own]
    _noted.clear()
    if told:
        logger.info("DAG %s: %s", own, "; ".join(told))


def _dag_id(task: Any) -> str | None:
    return getattr(task, "dag_id", None)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"{'tasks' if len(names) > 1 else 'task'} {', '.join(names[:_MAX_NAMES])}{more}"
