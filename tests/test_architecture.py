"""The rules of the package's architecture, the proof that each can fail, and the page and the drawing about it."""

from __future__ import annotations

import ast
import html
import itertools
import re
from typing import TYPE_CHECKING

import pytest

from tests.support import architecture
from tests.support.architecture import RULES, Package
from tests.support.constants import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Rule = Callable[[Package], list[str]]

PACKAGE = Package.read(ROOT / "openlineage_pod")
DRAWING = (ROOT / "docs" / "architecture.svg").read_text("utf-8")
STALE = "docs/architecture.svg is not up to date; run `make architecture`"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
COUNT = r"^Modules: (\d+)\. Climbs: (\d+)\."
P = "openlineage_pod"
LOADED = "from importlib import import_module\n"
IN_FUNCTION = "def f():\n    "
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_rule(rule: Rule) -> None:
    """The package has no violation of the rule."""
    assert rule(PACKAGE) == []


def test_package_is_read() -> None:
    """The reader finds the package's modules, and imports of each kind."""
    assert {"__init__", "cli", "airflow", "core.run", "delivery.transports.http"} <= set(PACKAGE.modules)
    assert ("core.run", "core.identity") in PACKAGE.edges()  # at the top of the module
    assert ("delivery.transports.http", "delivery.transports.session") in PACKAGE.edges()  # in a function
    assert ("delivery.prepare", "delivery.keeper") in PACKAGE.edges()


@pytest.mark.parametrize(
    "statement",
    [
        f"from {P}.core.run import Run",
        f"from {P}.core import run",
        f"import {P}.core.run",
        f"import {P}.core.run as other",
        "from ..core.run import Run",
        "from ..core import run",
        f"{IN_FUNCTION}from {P}.core.run import Run",
        f"{FOR_TYPES}from {P}.core.run import Run",
        f"{LOADED}import_module('{P}.core.run')",
        f"import importlib\nimportlib.import_module('{P}.core.run')",
    ],
)
def test_every_form_of_import_is_read(statement: str) -> None:
    """An import counts in whatever form and place it is written."""
    assert ("wrapper.plan", "core.run") in _made({"wrapper/plan.py": statement, "core/run.py": ""}).edges()


def _made(sources: dict[str, str]) -> Package:
    folders = {path.rpartition("/")[0] for path in sources}
    return Package({f"{folder}/__init__.py".lstrip("/"): '"""A package."""\n' for folder in folders} | sources)


def _pair(importer: str, imported: str) -> dict[str, str]:
    """Return a package in which one file imports another one."""
    return {importer: f"import {P}.{imported.removesuffix('.py').replace('/', '.')}\n", imported: ""}


def _lines(count: int, first: str = "", each: str = "x = 1") -> str:
    return "\n".join([first, *[each] * (count - 1)])


BROKEN: dict[str, tuple[Rule, dict[str, str], str]] = {
    "unknown room": (
        architecture.rooms_are_known,
        {"misc/__init__.py": '"""A package."""'},
        "misc/__init__.py: stands in no row",
    ),
    "unknown module at the top": (architecture.rooms_are_known, {"misc.py": ""}, "misc.py: stands in no row"),
    "up by one row": (
        architecture.imports_point_down,
        _pair("events/a.py", "datasets/b.py"),
        "events/a.py:1: imports datasets.b, of a row above it",
    ),
    "from the foundation": (
        architecture.imports_point_down,
        _pair("_a.py", "events/b.py"),
        "_a.py:1: imports events.b, of a row above it",
    ),
    "up to the public face": (
        architecture.imports_point_down,
        {"core/a.py": f"from {P} import dataset\n", "__init__.py": ""},
        "core/a.py:1: imports __init__, of a row above it",
    ),
    "up in a function": (
        architecture.imports_point_down,
        {"core/a.py": f"{IN_FUNCTION}from {P}.wrapper.b import c", "wrapper/b.py": ""},
        "core/a.py:2: imports wrapper.b, of a row above it",
    ),
    "up for type checkers": (
        architecture.imports_point_down,
        {"delivery/a.py": f"{FOR_TYPES}from {P}.core.b import C", "core/b.py": ""},
        "delivery/a.py:3: imports core.b, of a row above it",
    ),
    "to the other room of a row": (
        architecture.imports_point_down,
        _pair("wrapper/a.py", "recovery/b.py"),
        "wrapper/a.py:1: imports recovery.b, of another room in its row",
    ),
    "cycle": (
        architecture.imports_have_no_cycle,
        {
            "core/a.py": f"from {P}.core.b import B",
            "core/b.py": f"{IN_FUNCTION}from {P}.core import c",
            "core/c.py": f"{FOR_TYPES}from {P}.core.a import A",
        },
        "core.a -> core.b -> core.c -> core.a",
    ),
    "private name imported": (
        architecture.private_names_stay_home,
        {"core/a.py": f"from {P}.core.b import _b", "core/b.py": ""},
        "core/a.py:1: imports _b of core.b",
    ),
    "private name of an imported module": (
        architecture.private_names_stay_home,
        {"core/a.py": f"from {P}.core import b\n\nb._b()", "core/b.py": ""},
        "core/a.py:3: uses _b of core.b",
    ),
    "private name by a full path": (
        architecture.private_names_stay_home,
        {"core/a.py": f"import {P}.core.b\n{P}.core.b._b.c()", "core/b.py": ""},
        "core/a.py:2: uses _b of core.b",
    ),
    "long module": (
        architecture.sizes_are_limited,
        {"core/a.py": _lines(401)},
        "core/a.py: has 401 lines; at most 400",
    ),
    "long class": (
        architecture.sizes_are_limited,
        {"core/a.py": _lines(251, "class A:", "    x = 1")},
        "core/a.py:1: class A has 251 lines; at most 250",
    ),
    "many modules at the top": (
        architecture.sizes_are_limited,
        {f"_{number}.py": "" for number in range(14)},  # and __init__.py
        "the package has 15 modules at its top; at most 14",
    ),
    "code in a package's __init__.py": (
        architecture.packages_hold_no_code,
        {"core/__init__.py": '"""Core."""\nimport os\n'},
        "core/__init__.py:2: code in __init__.py",
    ),
    "package without a docstring": (
        architecture.packages_hold_no_code,
        {"core/__init__.py": "import os\n"},
        "core/__init__.py:1: code in __init__.py",
    ),
    "class of threads": (
        architecture.threads_have_one_source,
        {"core/a.py": "from threading import Thread\nclass A(Thread): pass"},
        "core/a.py:2: uses Thread",
    ),
}
for expression in (
    'environ["X"]',
    'os.environ["X"]',
    'settings.environ["X"]',
    'environ.get("X")',
    'os.environ.get("X", "")',
    'os.environ.pop("X")',
    'os.getenv("X")',
    'getenv("X")',
    '"X" in environ',
    '"X" not in os.environ',
):
    BROKEN[expression] = (
        architecture.variables_have_constants,
        {"core/a.py": expression},
        "core/a.py:1: names the variable 'X' by a literal",
    )
for expression in ("threading.Thread()", "Thread(target=f)", "threading.Timer(1, f)", "Timer(1, f)"):
    name = expression.partition("(")[0].rpartition(".")[2]
    BROKEN[expression] = (
        architecture.threads_have_one_source,
        {"core/a.py": expression},
        f"core/a.py:1: uses {name}",
    )


@pytest.mark.parametrize(("rule", "sources", "violation"), BROKEN.values(), ids=BROKEN)
def test_rule_finds_violation(rule: Rule, sources: dict[str, str], violation: str) -> None:
    """The rule finds the one violation of a made-up package."""
    assert rule(_made(sources)) == [violation]


def test_every_rule_is_proved() -> None:
    """Each rule has a made-up package that breaks it."""
    assert {rule for rule, _, _ in BROKEN.values()} == set(RULES)


ALLOWED = {
    "down": _pair("core/a.py", "events/b.py"),
    "within a room": _pair("delivery/a.py", "delivery/transports/b.py"),
    "within the foundation": _pair("_a.py", "settings.py"),
    "within the public face": _pair("__main__.py", "cli.py"),
    "private module": {"core/a.py": f"from {P} import _guard\n_guard.f()\nself._x", "_guard.py": ""},
    "dunder": {"core/a.py": f"from {P}.core.b import __version__", "core/b.py": ""},
    "type of a thread": {"core/a.py": "def f(thread: threading.Thread) -> None: ..."},
    "constant of environment": {"core/a.py": "environ[environment.URL]\nenvironment.URL in environ"},
    "literal in environment.py": {"environment.py": 'environ["X"]'},
    "thread in _threads.py": {"_threads.py": "threading.Thread()"},
    "at the limits": {"core/a.py": _lines(250, "class A:", "    x = 1") + "\n" * 150},
}


@pytest.mark.parametrize("sources", ALLOWED.values(), ids=ALLOWED)
def test_rules_allow(sources: dict[str, str]) -> None:
    """No rule finds anything in a package that keeps all of them."""
    assert [violation for rule in RULES for violation in rule(_made(sources))] == []


def test_drawing_shows_every_module() -> None:
    """The drawing has the package's modules, and nothing else; an empty `__init__.py` is no module."""
    modules = {name for name, module in PACKAGE.modules.items() if _has_code(module)}
    assert {title for title in _titles("node") if " " not in title} == modules, STALE


def test_drawing_shows_every_import() -> None:
    """The imports follow from the arrows of the drawing, and the arrows from the imports."""
    drawn = {tuple(title.split("->")) for title in _titles("edge")}
    in_rooms = {(start, goal) for start, goal in PACKAGE.edges() if _box(start) == _box(goal)}
    between = {
        (f"{_box(start)} end", f"{_box(goal)} room") for start, goal in PACKAGE.edges() if _box(start) != _box(goal)
    }
    assert _closure({edge for edge in drawn if " " not in edge[0]}) == _closure(in_rooms), STALE
    rooms = [
        {(start.removesuffix(" end"), goal.removesuffix(" room")) for start, goal in edges if " " in start}
        for edges in (drawn, between)
    ]
    assert _closure(rooms[0]) == _closure(rooms[1]), STALE


def test_drawing_has_the_order_of_the_rows() -> None:
    """In the drawing no room begins above a room of a higher row."""
    paths = re.findall(r'<title>cluster (\w+)</title>\n<path [^>]*d="([^"]*)"', DRAWING)
    tops = {room: min(float(pair.partition(",")[2]) for pair in re.findall(r"[-\d.]+,[-\d.]+", d)) for room, d in paths}
    rows = [[tops[box] for box in {_box(room) for room in rooms} if box in tops] for rooms in architecture.ROWS]
    rows = [row for row in rows if row]
    assert len(tops) == sum(map(len, rows))
    assert all(max(above) <= min(below) for above, below in itertools.pairwise(rows))


def test_drawing_is_portable() -> None:
    """The drawing is small and names neither this machine nor a date."""
    assert len(DRAWING) < 200_000
    assert str(ROOT) not in DRAWING
    assert "<!--" not in DRAWING  # Graphviz writes its version there


def _titles(kind: str) -> list[str]:
    found = re.findall(rf'class="{kind}">\n<title>(.*?)</title>', DRAWING)
    return [html.unescape(title) for title in found]


def _has_code(module: architecture.Module) -> bool:
    return not module.path.endswith("__init__.py") or module.path in architecture.WITH_CODE


def _box(module: str) -> str:
    """Return the title of the box in the drawing for a module or a room."""
    room = architecture.room_of(module)
    return "face" if room in architecture.FACE else "foundation" if room in architecture.FOUNDATION else room


def _closure(edges: Iterable[tuple[str, ...]]) -> set[tuple[str, str]]:
    """Return every pair of which the first reaches the second."""
    reached = {(edge[0], edge[1]) for edge in edges}
    while more := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= more
    return reached


JOURNEYS = {
    title: (re.findall(r"^\d+\. `(\S+)` `(\S+)`", text, re.MULTILINE), re.search(COUNT, text, re.MULTILINE))
    for title, text in (section.split("\n", 1) for section in PAGE.split("\n### ")[1:])
}


@pytest.mark.parametrize(("stops", "count"), JOURNEYS.values(), ids=JOURNEYS)
def test_journey_is_true(stops: list[tuple[str, str]], count: re.Match[str] | None) -> None:
    """Each stop of a journey exists, and the counts of modules and climbs are those of its stops."""
    for path, function in stops:
        assert function in _definitions(PACKAGE.modules[path.removesuffix(".py").replace("/", ".")].tree), path
    rows = [architecture.row_of(path.partition("/")[0]) or 0 for path, _ in stops]
    climbs = sum(after < before for before, after in itertools.pairwise(rows))
    assert count is not None
    assert (int(count[1]), int(count[2])) == (len({path for path, _ in stops}), climbs)


def _definitions(tree: ast.Module) -> set[str]:
    """Return the functions, classes and methods of a module, methods as `Class.method`."""
    return {
        f"{prefix}{node.name}"
        for prefix, body in [("", tree.body), *((f"{each.name}.", each.body) for each in _classes(tree))]
        for node in body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))
