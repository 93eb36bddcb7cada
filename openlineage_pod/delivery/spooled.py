"""Reading an event from a file of a spool, which anybody may have written."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from openlineage_pod._guard import logger
from openlineage_pod.delivery.spool_files import shown
from openlineage_pod.events.document import Document, is_event
from openlineage_pod.events.namespaces import clean_namespaces
from openlineage_pod.events.regular_file import ForeignFileError

if TYPE_CHECKING:
    from openlineage_pod.delivery.rejected import Rejected
    from openlineage_pod.delivery.spool_files import Folder

__all__ = ["read_event"]


def read_event(folder: Folder, name: str, rejected: Rejected, *, set_aside: bool = True) -> Document | None:
    """Return the event in a file as it may be sent, or None: it has gone, cannot be read, or is not an event.

    Args:
        folder: where it is.
        name: of the file.
        rejected: where a file goes that is not an event.
        set_aside: move it there.

    """
    path = f"{folder.path}/{name}"
    try:
        data = folder.read(name)
    except FileNotFoundError:
        return None
    except ForeignFileError as error:
        what = str(error).removeprefix("it ")
    except OSError as error:
        rejected.tell(path, f"cannot be read ({error.strerror}) and stays there")
        return None
    else:
        with suppress(ValueError, RecursionError):
            fields = json.loads(data)
            if is_event(fields):
                # An earlier release, or another program, may have written it.
                clean, warnings = clean_namespaces(fields)
                for warning in warnings:
                    logger.warning("%s: %s", shown(path), warning)
                return Document(fields, data) if clean == fields else Document(clean)
        what = "is not a lineage event"
    if set_aside:
        rejected.set_aside(folder, name, what)
    return None
