"""The rules of the package's architecture: each reads the source code and returns its violations."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PACKAGE = "openlineage_pod"

# From the top to the bottom: an import may only point down. A row holds rooms, which are folders or lone modules.
# The modules of the first and of the last row may import each other; rooms of the other rows may not.
FACE = ("__init__", "__main__", "auth", "cli", "testing")
FOUNDATION = ("environment", "settings", "_")  # "_": every module whose name begins with an underscore
ROWS = (
    FACE,
    ("airflow", "inspection"),
    ("wrapper", "recovery"),
    ("core",),
    ("capture",),
    ("delivery",),
    ("datasets",),
    ("events",),
    FOUNDATION,
)

MAX_MODULE_LINES = 400
MAX_CLASS_LINES = 250
MAX_TOP_MODULES = 14
# Packages whose __init__.py holds code.
WITH_CODE = ("__init__.py", "airflow/__init__.py")
# Modules that name variables of the environment, and the module that starts threads.
ENVIRONMENT_FILES = ("environment.py", "settings.py")
THREAD_FILE = "_threads.py"

_ENVIRONMENT_NAMES = ("environ", "_environ", "env", "_env", "environb")
_ENVIRONMENT_METHODS = ("get", "pop", "setdefault", "__getitem__", "__contains__")
_ENVIRONMENT_FUNCTIONS = ("getenv", "getenvb", "putenv", "unsetenv")
_THREAD_STARTERS = ("Thread", "Timer", "ThreadPoolExecutor", "start_new_thread", "start_joinable_thread")


class Module(NamedTuple):
    """One file of the package: `path` is relative to it, `name` is dotted and without the package's own name."""

    path: str
    name: str
    source: str
    tree: ast.Module

    def at(self, node: ast.AST, what: str) -> str:
        """Return a violation that names the line of a node."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


class Import(NamedTuple):
    """One import of a module of the package by another one; `taken` is the imported name, empty for the module."""

    importer: Module
    imported: str
    taken: str
    node: ast.AST


class Package:
    """The modules of a package and the imports between them, wherever they stand in a module."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self.modules = {
            module.name: module
            for path, source in sorted(sources.items())
            for module in [Module(path, _name(path), source, ast.parse(source))]
        }
        self.imports = [found for module in self.modules.values() for found in self._imports(module)]

    @classmethod
    def read(cls, folder: Path) -> Package:
        """Return the package in a folder."""
        files = folder.rglob("*.py")
        return cls({file.relative_to(folder).as_posix(): file.read_text("utf-8") for file in files})

    def edges(self) -> set[tuple[str, str]]:
        """Return the pairs of importing and imported module."""
        return {(each.importer.name, each.imported) for each in self.imports if each.importer.name != each.imported}

    def split(self, dotted: str) -> tuple[str, str] | None:
        """Split a dotted name into a module of the package and the rest; None for a name of another package."""
        first, *parts = dotted.split(".")
        if first != PACKAGE:
            return None
        for length in range(len(parts), 0, -1):
            if (name := ".".join(parts[:length])) in self.modules:
                return name, ".".join(parts[length:])
        return "__init__", ".".join(parts)

    def _imports(self, module: Module) -> Iterator[Import]:
        for node in ast.walk(module.tree):
            for dotted in _imported(module, node):
                if found := self.split(dotted):
                    yield Import(module, *found, node)


def _name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(module: Module, node: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a statement, or a call of `import_module`, imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = [PACKAGE, *module.path.split("/")[:-1]]
            base = ".".join([*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])])
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and _last_name(node.func) in ("import_module", "__import__"):
        yield from (str(value.value) for value in node.args[:1] if isinstance(value, ast.Constant))


def _dotted(node: ast.AST) -> str:
    """Return the dotted name of an expression such as `a.b.c`, empty for another one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def room_of(module: str) -> str:
    """Return the room of a module as it stands in ROWS."""
    first = module.partition(".")[0]
    return "_" if first.startswith("_") and first not in FACE else first


def row_of(room: str) -> int | None:
    """Return the number of a room's row, 0 for the top."""
    return next((number for number, rooms in enumerate(ROWS) if room in rooms), None)


def rooms_are_known(package: Package) -> list[str]:
    """Return the modules whose room no row names."""
    return [f"{each.path}: stands in no row" for each in package.modules.values() if row_of(room_of(each.name)) is None]


def imports_point_down(package: Package) -> list[str]:
    """Return the imports that point up, or from one room to another one of its row."""
    violations = []
    for importer, imported, _, node in package.imports:
        rooms = room_of(importer.name), room_of(imported)
        rows = row_of(rooms[0]), row_of(rooms[1])
        if rooms[0] == rooms[1] or None in rows or (rows[0] == rows[1] and rooms[0] in (*FACE, *FOUNDATION)):
            continue
        if rows[0] == rows[1]:
            violations.append(importer.at(node, f"imports {imported}, of another room in its row"))
        elif (rows[0] or 0) > (rows[1] or 0):
            violations.append(importer.at(node, f"imports {imported}, of a row above it"))
    return violations


def imports_have_no_cycle(package: Package) -> list[str]:
    """Return a cycle of imports, if there is one; imports in functions and for type checkers count."""
    graph: dict[str, set[str]] = {}
    for importer, imported in sorted(package.edges()):
        graph.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def private_names_stay_home(package: Package) -> list[str]:
    """Return the uses of private names of other modules: `from a import _x` and `a._x`."""
    violations = [
        each.importer.at(each.node, f"imports {each.taken} of {each.imported}")
        for each in package.imports
        if _is_private(each.taken) and each.imported != each.importer.name
    ]
    for module in package.modules.values():
        bound = dict(_bound_names(module))
        for node in ast.walk(module.tree):
            first, _, rest = _dotted(node).partition(".") if isinstance(node, ast.Attribute) else ("", "", "")
            found = package.split(f"{bound[first]}.{rest}") if first in bound else None
            if found and found[0] != module.name and found[1].count(".") == 0 and _is_private(found[1]):
                violations.append(module.at(node, f"uses {found[1]} of {found[0]}"))
    return violations


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _bound_names(module: Module) -> Iterator[tuple[str, str]]:
    """Yield the names that a module's imports bind, each with the dotted name of what it stands for."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias, dotted in zip(node.names, _imported(module, node), strict=True):
                if isinstance(node, ast.Import) and not alias.asname:
                    dotted = alias.name.partition(".")[0]  # noqa: PLW2901
                    yield dotted, dotted
                else:
                    yield alias.asname or alias.name, dotted


def sizes_are_limited(package: Package) -> list[str]:
    """Return the modules and classes that are too long, and the number of modules at the top if it is too large."""
    violations = []
    for module in package.modules.values():
        lines = len(module.source.splitlines())
        if lines > MAX_MODULE_LINES:
            violations.append(f"{module.path}: has {lines} lines; at most {MAX_MODULE_LINES}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_CLASS_LINES:
                    violations.append(
                        module.at(node, f"class {node.name} has {lines} lines; at most {MAX_CLASS_LINES}")
                    )
    top = sum("/" not in module.path for module in package.modules.values())
    if top > MAX_TOP_MODULES:
        violations.append(f"the package has {top} modules at its top; at most {MAX_TOP_MODULES}")
    return violations


def packages_hold_no_code(package: Package) -> list[str]:
    """Return the `__init__.py` files that hold more than a docstring."""
    return [
        module.at(statement, "code in __init__.py")
        for module in package.modules.values()
        if module.path.endswith("__init__.py") and module.path not in WITH_CODE
        for number, statement in enumerate(module.tree.body)
        if number > 0 or ast.get_docstring(module.tree) is None
    ]


def variables_have_constants(package: Package) -> list[str]:
    """Return the places that name a variable of the environment by a literal."""
    return [
        module.at(node, f"names the variable {key.value!r} by a literal")
        for module in package.modules.values()
        if module.path not in ENVIRONMENT_FILES
        for node in ast.walk(module.tree)
        for key in _variable_keys(node)
        if isinstance(key, ast.Constant) and isinstance(key.value, str | bytes) and key.value  # "": no variable
    ]


def _variable_keys(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions by which a node looks into a mapping of the environment."""
    mapping, keys = "", []
    if isinstance(node, ast.Subscript):
        mapping, keys = _last_name(node.value), [node.slice]
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        mapping, keys = _last_name(node.comparators[0]), [node.left]
    elif isinstance(node, ast.Call) and _last_name(node.func) in _ENVIRONMENT_FUNCTIONS:
        yield from node.args[:1]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ENVIRONMENT_METHODS:
        mapping, keys = _last_name(node.func.value), node.args[:1]
    if mapping in _ENVIRONMENT_NAMES:
        yield from keys


def threads_have_one_source(package: Package) -> list[str]:
    """Return the places that start a thread, or derive a class of threads, by themselves."""
    violations = []
    for module in package.modules.values():
        for node in ast.walk(module.tree) if module.path != THREAD_FILE else ():
            used = [node.func] if isinstance(node, ast.Call) else node.bases if isinstance(node, ast.ClassDef) else []
            violations += [
                module.at(node, f"uses {name}") for name in map(_last_name, used) if name in _THREAD_STARTERS
            ]
    return violations


RULES = (
    rooms_are_known,
    imports_point_down,
    imports_have_no_cycle,
    private_names_stay_home,
    sizes_are_limited,
    packages_hold_no_code,
    variables_have_constants,
    threads_have_one_source,
)
