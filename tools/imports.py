"""`python -m tools.imports`: which packages and rooms import which, as a drawing, and whether any arrow runs up.

A room is a folder of `latent_combo`; its modules outside of any folder are the commands. Exits with 1 on a circle.
"""

import argparse
import graphlib
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import grimp

PACKAGES = ("combo_common", "envs", "data", "latent_combo")
TOP = "latent_combo"
"""The package whose folders are rooms; of the others each is one."""

Arrows = Mapping[tuple[str, str], int]
"""Numbers of import lines, by the room that imports and the room that is imported."""


def room(module: str, folders: Iterable[str]) -> str:
    """The room of a module: its folder below `latent_combo`, or else its package."""
    package, *inner = module.split(".")
    below = f"{package}.{inner[0]}" if inner else package
    return below if package == TOP and below in folders else package


def arrows_between(graph: Any) -> Counter[tuple[str, str]]:
    """Count the imports between rooms; those within one are left out."""
    folders = {module for module in graph.find_children(TOP) if graph.find_children(module)}
    arrows: Counter[tuple[str, str]] = Counter()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            ends = room(importer, folders), room(imported, folders)
            if ends[0] != ends[1]:
                lines = graph.get_import_details(importer=importer, imported=imported)
                arrows[ends] += max(1, len(lines))
    return arrows


def levels(arrows: Arrows) -> list[list[str]]:
    """Rooms from the ground up: each imports from lower levels only. Raises graphlib.CycleError for a circle."""
    below: dict[str, set[str]] = {}
    for above, imported in arrows:
        below.setdefault(above, set()).add(imported)
        below.setdefault(imported, set())
    sorter = graphlib.TopologicalSorter(below)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found.append(ready)
        sorter.done(*ready)
    return found


def draw(arrows: Arrows) -> str:
    """The rooms from the top down, a line each: what it imports, and by how many lines."""
    lines = []
    for rooms in reversed(levels(arrows)):
        for name in rooms:
            imported = sorted((below, count) for (above, below), count in arrows.items() if above == name)
            lines.append(f"{name:28} -> {', '.join(f'{below} {count}' for below, count in imported) or '(nothing)'}")
    return "\n".join(lines)


def mermaid(arrows: Arrows) -> str:
    """The same as a Mermaid diagram, without the arrows that longer ways imply."""
    below: dict[str, set[str]] = {}
    for above, imported in arrows:
        below.setdefault(above, set()).add(imported)
    reach: dict[str, set[str]] = {}
    for rooms in levels(arrows):
        for name in rooms:
            direct = below.get(name, set())
            reach[name] = direct.union(*(reach[other] for other in direct))
    kept = [
        (above, imported)
        for above, imported in sorted(arrows)
        if not any(imported in reach[other] for other in below[above] if other != imported)
    ]
    return "\n".join(["graph TD", *(f"    {_node(above)} --> {_node(imported)}" for above, imported in kept)])


def _node(name: str) -> str:
    return f'{name.replace(".", "_")}["{name}"]'


def main() -> int:
    """Draw, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.imports", description=__doc__)
    parser.add_argument("--mermaid", action="store_true", help="print a Mermaid diagram instead of lines")
    parser.add_argument("--chain", nargs=2, metavar=("FROM", "TO"), help="print the shortest imports between modules")
    arguments = parser.parse_args()
    graph = grimp.build_graph(*PACKAGES, include_external_packages=False, cache_dir=None)
    if arguments.chain:
        chain = graph.find_shortest_chain(*arguments.chain)
        print(" -> ".join(chain) if chain else f"{arguments.chain[0]} never imports {arguments.chain[1]}")
        return 0
    arrows = arrows_between(graph)
    try:
        print(mermaid(arrows) if arguments.mermaid else draw(arrows))
    except graphlib.CycleError as error:
        print(f"circle: {' -> '.join(reversed(error.args[1]))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
