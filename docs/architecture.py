"""Draw the rooms and modules of openlineage_pod, and the imports between them, into docs/architecture.svg.

An arrow that follows from others is left out: of A -> B -> C and A -> C only the first two are drawn.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import grimp

PACKAGE = "openlineage_pod"
ROOT = Path(__file__).parents[1]
OUTPUT = Path(__file__).with_suffix(".svg")


class Room(NamedTuple):
    """A room: its title, what it is for, its color, and its modules where it is not a folder."""

    title: str
    purpose: str
    color: str
    modules: tuple[str, ...] = ()


# From the top to the bottom; every module that no room names is part of the foundation.
ROOMS = {
    "face": Room(
        "public face", "what users import and call", "#fde8c8", ("__init__", "__main__", "auth", "cli", "testing")
    ),
    "airflow": Room("airflow", "links a pod to its Airflow task, in the DAG", "#f9d5d3"),
    "inspection": Room("inspection", "the rules of consumers, as data", "#f9d5d3"),
    "wrapper": Room("wrapper", "runs a command and reports it", "#e4d7f0"),
    "recovery": Room("recovery", "delivers later what was kept", "#e4d7f0"),
    "core": Room("core", "a run: its parent, its name, how it ends", "#cfe2f7"),
    "delivery": Room("delivery", "gets every event to the backend, or keeps it", "#d3ecd9"),
    "datasets": Room("datasets", "names and describes data", "#d9eef0"),
    "events": Room("events", "an event: its JSON, size and secrets", "#f3ecc2"),
    "foundation": Room("foundation", "variables, settings, and the safety of the process", "#e3e3e3"),
}
# Rooms that stand side by side.
ALIGNED = (("face", "airflow", "inspection"), ("wrapper", "recovery"), ("delivery", "datasets"))
LEGEND = (
    "Bold arrow: modules of a room import modules of another room. Thin arrow: a module imports a module.\\l"
    "Dashed arrow: only inside a function, or for type checkers. "
    "Left out: arrows that follow from those that are drawn.\\l"
)

Edges = dict[tuple[str, str], bool]  # importer and imported -> whether the import runs when the importer is imported


def main() -> None:
    """Write the drawing."""
    source = draw(read_edges())
    svg = subprocess.run(["dot", "-Tsvg"], input=source, capture_output=True, check=True, text=True).stdout
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)  # they hold the version of Graphviz
    OUTPUT.write_text(svg, "utf-8")


def read_edges() -> tuple[list[str], Edges]:
    """Return the modules, without the folders of rooms, and the imports between them."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    edges: Edges = {}
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            details = graph.get_import_details(importer=importer, imported=imported)
            lines = _file(importer).read_text("utf-8").splitlines()
            edges[_short(importer), _short(imported)] = any(
                not lines[detail["line_number"] - 1].startswith((" ", "\t")) for detail in details
            )
    used = {module for edge in edges for module in edge}
    modules = {_short(module) for module in graph.modules if not graph.find_children(module)} | used
    return sorted(modules), edges


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _short(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".") or "__init__"


def room_of(module: str) -> str:
    """Return the room of a module."""
    first = module.partition(".")[0]
    found = (name for name, room in ROOMS.items() if first == name or first in room.modules)
    return next(found, "foundation")


def reduced(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the edges of a graph without cycles that do not follow from others."""

    def reaches(start: str, goal: str, *, directly: bool) -> bool:
        return any(
            (directly and after == goal) or reaches(after, goal, directly=True)
            for before, after in edges
            if before == start and (directly or after != goal)
        )

    return {(start, goal) for start, goal in edges if not reaches(start, goal, directly=False)}


def draw(read: tuple[list[str], Edges]) -> str:
    """Return the drawing in the language of Graphviz."""
    modules, edges = read
    lines = [
        "digraph architecture {",
        "compound=true newrank=true nodesep=0.18 ranksep=0.28 splines=spline",
        'fontname="Helvetica,Arial,sans-serif"',
        'node [fontname="Helvetica,Arial,sans-serif" fontsize=11 shape=box style="filled,rounded"]',
        'node [fillcolor=white color=gray40 height=0.26 margin="0.09,0.02"]',
        "edge [color=gray35 arrowsize=0.55]",
    ]
    for name, room in ROOMS.items():
        lines += _room(name, room, [module for module in modules if room_of(module) == name], edges)
    for rooms in ALIGNED:
        lines.append("{ rank=same; " + "; ".join(f'"{room} room"' for room in rooms) + " }")
    between = {(room_of(start), room_of(goal)) for start, goal in edges if room_of(start) != room_of(goal)}
    for start, goal in sorted(reduced(between)):
        lines.append(
            f'"{start} end" -> "{goal} room" [ltail="cluster {start}" lhead="cluster {goal}" '
            "minlen=2 penwidth=3 arrowsize=0.9 color=gray20]"
        )
    # Last, as the boxes before it would inherit it.
    lines.append(f'label="{LEGEND}" labelloc=b labeljust=l fontsize=11')
    return "\n".join([*lines, "}"])


def _room(name: str, room: Room, modules: list[str], edges: Edges) -> list[str]:
    """Return the box of a room: its title on top, its modules, and an invisible end from which arrows leave."""
    inner = reduced({edge for edge in edges if set(edge) <= set(modules)})
    title = f'<<b><font point-size="14">{room.title}</font></b><br/>{room.purpose}>'
    lines = [
        f'subgraph "cluster {name}" {{ style="filled,rounded" color=gray60 fillcolor="{room.color}" margin=10',
        f'"{name} room" [shape=plain style="" label={title}]',
        f'"{name} end" [shape=point style=invis width=0.01 height=0.01]',
    ]
    folders: dict[str, list[str]] = {}
    for module in modules:
        folder, _, base = module.rpartition(".")
        label = f"{base} (__init__)" if module == name else base
        folders.setdefault(folder, []).append(f'"{module}" [label="{label}"]')
    for folder, nodes in sorted(folders.items()):
        if "." in folder:
            label = folder.partition(".")[2]
            lines += [
                f'subgraph "cluster {folder}" {{ label=<<b>{label}</b>> fontsize=12 labeljust=l fillcolor="#e9f6ec"'
            ]
            lines += [*nodes, "}"]
        else:
            lines += nodes
    lines += [
        f'"{start}" -> "{goal}"{"" if edges[start, goal] else " [style=dashed]"}' for start, goal in sorted(inner)
    ]
    for module in modules:
        if not any(goal == module for _, goal in inner):
            lines.append(f'"{name} room" -> "{module}" [style=invis]')
        if not any(start == module for start, _ in inner):
            lines.append(f'"{module}" -> "{name} end" [style=invis]')
    return [*lines, "}"]


if __name__ == "__main__":
    main()
