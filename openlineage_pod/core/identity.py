"""What a run is called: its id, its job's name and namespace, and whose child it is.

Light of imports: a command under `openlineage-pod run` waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from openlineage_pod.core.parent import ParentContext
from openlineage_pod.events.uuid7 import new_uuid7
from openlineage_pod.settings import MAX_NAME, name_fault, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openlineage_pod.settings import Settings

__all__ = ["Identity", "identify"]

_MAX_DEFAULT = 255


class Identity(NamedTuple):
    """Who a run is. `parent` is the run above it, or None if nobody named one."""

    run_id: str
    job_name: str
    job_namespace: str
    parent: ParentContext | None

    def as_parent(self, job_type: Mapping[str, object]) -> ParentContext:
        """Return what the children of this run need to know of it; they have the same root as this run.

        Args:
            job_type: The `jobType` facet of this run's job.

        """
        root = self.parent and (self.parent.root or self.parent)
        return ParentContext(self.run_id, self.job_name, self.job_namespace, {"jobType": job_type}, root)


def identify(
    settings: Settings,
    parent: ParentContext | None,
    *,
    job_name: str | None,
    job_namespace: str | None,
    default_name: str,
    run_id: str | None = None,
    nested: bool = False,
) -> tuple[Identity, list[str]]:
    """Return the identity of a run, and one sentence for each name that cannot be used.

    The parent's own name is none for its child: Marquez would take the child's job for the parent's.

    Args:
        settings: its namespace, and its job name for a run that is not nested.
        parent: the run above it.
        job_name: the explicit name.
        job_namespace: the explicit namespace.
        default_name: of the function or command, where there is no other name.
        run_id: a UUID; default: a new one, of version 7.
        nested: whether the run above it is of this process.

    """
    problems: list[str] = []
    name = _checked("job name", job_name, problems) or (None if nested else settings.job_name)
    fallback = _below(parent, default_name)
    if not name or (parent and name == parent.job_name):
        name = fallback
    namespace = _checked("namespace", job_namespace, problems) or settings.namespace
    namespace = namespace or (parent and parent.job_namespace) or "default"
    return Identity(run_id or new_uuid7(), name, namespace, parent), problems


def _below(parent: ParentContext | None, name: str) -> str:
    """Return a name for the child of a parent, made fit to be one."""
    if name_fault(name) or len(name) > _MAX_DEFAULT:  # that of a file may hold any byte
        name = "".join(each if each.isprintable() and each not in "{}" else "?" for each in name)[:_MAX_DEFAULT]
    return f"{parent.job_name[: MAX_NAME - len(name) - 1]}.{name}" if parent else name


def _checked(what: str, value: str | None, problems: list[str]) -> str | None:
    fault = None if value is None else name_fault(value)
    if fault is None:
        return value
    problems.append(f"the {what} {quoted(value)} {fault}; the default is used")
    return None
