"""Copies of modules for processes in which gevent or eventlet has patched sockets.

A patched socket waits in an event loop, and each thread has its own. In a thread of ours that costs events, because the
loop needs further threads, and it can crash the process at its end. So our threads use copies of the modules through
which a request goes, which import each other instead of the patched ones; the job's modules stay as they are.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from openlineage_pod._fork import importing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["are_sockets_patched", "unpatched"]

_PATCHERS = ("gevent", "eventlet")
# What shows that sockets, or what they need, are patched; either library patches them one by one as well.
_SIGNS = (("socket", "socket"), ("socket", "getaddrinfo"), ("ssl", "SSLContext"), ("select", "select"))
# Of these modules, and of those inside them, copies are made.
_COPIED = (
    "http",
    "requests",
    "select",
    "selectors",
    "socket",
    "ssl",
    "urllib3",
    "openlineage_pod.delivery.transports.exchange",
    "openlineage_pod.delivery.transports.http",
    "openlineage_pod.delivery.transports.session",
)
# Copies have names of their own: some modules look themselves up in `sys.modules`.
_PREFIX = "_openlineage_pod_unpatched"


def are_sockets_patched() -> bool:
    """Return whether gevent or eventlet has patched sockets. Others, such as PySocks, patch them for a reason."""
    for module, name in _SIGNS:
        value = getattr(sys.modules.get(module), name, None)
        if str(getattr(value, "__module__", "")).partition(".")[0] in _PATCHERS:
            return True
    return False


def unpatched(name: str) -> ModuleType:
    """Return the copy of a module; made at the first call."""
    own_name = f"{_PREFIX}.{name}"
    with importing():  # first: another thread may be at making it
        return sys.modules.get(own_name) or _copy(name, own_name)


def _copy(name: str, own_name: str) -> ModuleType:
    parent = name.rpartition(".")[0]
    if _is_copied(parent):
        unpatched(parent)
        if own_name in sys.modules:  # its parent has imported it
            return sys.modules[own_name]
    spec = _find(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    code = spec.loader.get_code(name) if hasattr(spec.loader, "get_code") else None
    if code is None:  # a module of C code, whose functions are made anew
        spec.loader.exec_module(module)
    else:
        module.__name__ = own_name
        module.__package__ = own_name if spec.submodule_search_locations is not None else own_name.rpartition(".")[0]
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
    sys.modules[own_name] = module
    if code is not None:
        try:
            exec(code, module.__dict__)  # noqa: S102
        except BaseException:
            del sys.modules[own_name]
            raise
    if _is_copied(parent):
        setattr(unpatched(parent), name.rpartition(".")[2], module)
    return module


def _find(name: str) -> ModuleSpec | None:
    """Return where a module comes from, without an import of the module above it if there is a copy of that."""
    parent = name.rpartition(".")[0]
    if _is_copied(parent):
        return PathFinder.find_spec(name, getattr(unpatched(parent), "__path__", None))
    return importlib.util.find_spec(name)


def _is_copied(name: str) -> bool:
    return any(name == copied or name.startswith(f"{copied}.") for copied in _COPIED)


def _import(
    name: str,
    namespace: Mapping[str, Any] | None = None,
    local: Mapping[str, Any] | None = None,
    wanted: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """Import as the import statement does, but copies of the modules of which there are some."""
    full = importlib.util.resolve_name(f"{'.' * level}{name}", (namespace or {}).get("__package__")) if level else name
    full = full.removeprefix(f"{_PREFIX}.")
    if not _is_copied(full):
        return __import__(name if not level else full, namespace, local, wanted or (), 0)
    module = unpatched(full)
    if not wanted:
        return unpatched(full.partition(".")[0]) if not level else module
    for each in wanted if hasattr(module, "__path__") else ():
        if each != "*" and not hasattr(module, each) and _find(f"{full}.{each}") is not None:
            unpatched(f"{full}.{each}")
    return module
