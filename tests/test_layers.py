"""Imports run downwards only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("latent_combo", "envs", "data")

FORBIDDEN = {
    "latent_combo/run": ("envs", "data", "latent_combo.world_model", "latent_combo.agent", "latent_combo.train"),
    "latent_combo/world_model": ("envs", "data", "latent_combo.agent", "latent_combo.config", "latent_combo.train"),
    "latent_combo/agent": ("envs", "data", "latent_combo.config", "latent_combo.train"),
    "envs": ("data", "latent_combo.world_model", "latent_combo.agent", "latent_combo.config", "latent_combo.train"),
    "data": ("latent_combo.agent", "latent_combo.config", "latent_combo.train"),
}
ENVIRONMENT_MAKERS = {"latent_combo/score.py", "data/behaviour.py", "data/collect.py", "data/render.py"}


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules() -> dict[str, set[str]]:
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): imports(path) for path in files}


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_imports_nothing_from_above(layer: str) -> None:
    for name, imported in modules().items():
        if name.startswith(f"{layer}/"):
            above = {i for i in imported for f in FORBIDDEN[layer] if i == f or i.startswith(f"{f}.")}
            assert not above, f"{name} imports {above}"


def test_there_are_no_circles() -> None:
    graph = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): imported
        for name, imported in modules().items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"circle: {' -> '.join((*path, name))}"
        if name not in done:
            for imported in sorted(graph[name] & graph.keys()):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_environment_is_made_in_two_places_only() -> None:
    makers = {name for name, imported in modules().items() if "envs.make" in imported and not name.startswith("envs/")}
    assert makers <= ENVIRONMENT_MAKERS


def test_nothing_unpickles() -> None:
    for name in modules():
        text = (ROOT / name).read_text()
        for bad in ("allow_pickle=True", "weights_only=False", "pickle.load", "np.random.seed", "random.seed("):
            if bad == "random.seed(" and name == "envs/walker.py":
                continue  # the simulator's own generator, not the global one
            assert bad not in text, f"{name} has {bad}"
