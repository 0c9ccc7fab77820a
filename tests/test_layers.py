"""Imports run downwards only, and nothing unpickles or touches a global random generator."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("combo_common", "latent_combo", "envs", "data")

ORDER = (
    "combo_common",
    "envs",
    "data",
    "latent_combo.numerics",
    "latent_combo.runtime",
    "latent_combo.world_model",
    "latent_combo.agent",
    "latent_combo.latents",
    "latent_combo.evaluation",
    "latent_combo.diagnostics",
    "latent_combo.config",
    "latent_combo.pipeline",
    "latent_combo.api",
    "latent_combo.comparison",
    "latent_combo",
)
"""Packages and rooms from the ground up: each imports from those before it only. The last are the commands."""
ALLOWED = {
    "latent_combo.numerics": ("combo_common",),
    "latent_combo.runtime": ("combo_common", "envs.registry", "latent_combo.numerics"),
    "latent_combo.world_model": ("combo_common", "latent_combo.numerics"),
    "latent_combo.agent": (
        *("combo_common", "latent_combo.numerics"),
        *("latent_combo.world_model.base", "latent_combo.world_model.gaussian"),
    ),
    "latent_combo.diagnostics.panels": (
        *("combo_common", "latent_combo.runtime", "latent_combo.world_model", "latent_combo.agent"),
        "latent_combo.diagnostics.style",
    ),
}
"""What some of them are narrower in."""
TOP = "latent_combo"
"""The package that people import by its name alone."""
DRAWN_FROM_TENSORS = ("gymnasium", "mujoco", "dm_control", "pathlib", "os", "data", "envs")
OUTSIDE_OF_THE_MODELS = (
    "gymnasium",
    "mujoco",
    "dm_control",
    "stable_baselines3",
    "sbx",
    "jax",
    "flax",
    "imageio",
    "pathlib",
    "os",
    "io",
)
ENVIRONMENT_MAKERS = {
    "latent_combo.evaluation.evaluator",
    "latent_combo.evaluation.branches",
    "latent_combo.evaluation.film",
    "data.simulate.sac",
    "data.simulate.rollout",
    "data.simulate.relabelling",
    "data.simulate.rendering",
}
FORBIDDEN = ("pickle.load", "pickle.loads", "torch.load", "torch.save", "np.random.seed", "random.seed")
SAFE = {"np.load": ("allow_pickle", "False")}  # the library's default, too


class Sources(Mapping[str, ast.Module]):
    """Every module of the packages, by its dotted name; it is parsed when it is asked for.

    Each of pytest's workers imports this file, and one of them runs its tests.
    """

    def __init__(self) -> None:
        files = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
        named = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
        self._files = {name.removesuffix(".__init__"): path for name, path in named.items()}
        self._parsed = dict[str, ast.Module]()

    def __getitem__(self, name: str) -> ast.Module:
        if name not in self._parsed:
            self._parsed[name] = ast.parse(self._files[name].read_text())
        return self._parsed[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


SOURCES = Sources()
ROOMS = {name for name in SOURCES if (ROOT / name.replace(".", "/")).is_dir()}


def imports(tree: ast.Module) -> set[str]:
    """All modules, and names out of modules, that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative imports would escape these tests"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def modules_of(layer: str) -> Iterator[tuple[str, set[str]]]:
    """Each module of a layer, and the modules of this project that it imports."""
    for name, tree in SOURCES.items():
        if within(name, (layer,)):
            yield name, imports(tree) & SOURCES.keys()


def room(name: str) -> str:
    """The room or package that a module is in."""
    return next(place for place in sorted(ORDER, key=len, reverse=True) if within(name, (place,)))


@pytest.mark.parametrize("place", ORDER)
def test_no_import_runs_up(place: str) -> None:
    """Between packages and between rooms: so there are no circles of them, either."""
    below = ORDER[: ORDER.index(place) + 1]
    for name, imported in modules_of(place):
        if room(name) == place:
            above = {i for i in imported if room(i) not in below and i not in ROOMS}
            assert not above, f"{name} imports {sorted(above)}"
            # names that the top package offers lazily come from its highest rooms
            lazily = {i for i in imports(SOURCES[name]) - SOURCES.keys() if i.rpartition(".")[0] == TOP}
            assert not lazily or name == TOP, f"{name} imports {sorted(lazily)}"


@pytest.mark.parametrize("layer", ALLOWED)
def test_a_room_imports_nothing_else(layer: str) -> None:
    for name, imported in modules_of(layer):
        above = {i for i in imported - ROOMS if not within(i, (layer, *ALLOWED[layer]))}
        assert not above, f"{name} imports {sorted(above)}"


@pytest.mark.parametrize("package", sorted(ROOMS - {TOP}))
def test_a_package_is_a_docstring(package: str) -> None:
    (only,) = SOURCES[package].body
    assert isinstance(only, ast.Expr) and ast.get_docstring(SOURCES[package])


def test_the_top_package_imports_nothing_before_it_is_asked() -> None:
    """It offers names from all rooms, and takes no longer to import than an empty file."""
    body = SOURCES[TOP].body
    at_once = set[str]().union(*(imports(ast.Module([node], [])) for node in body if not _for_checkers(node)))
    assert {name.split(".")[0] for name in at_once} <= {"importlib", "typing"}


def _for_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


@pytest.mark.parametrize("layer", ["latent_combo.world_model", "latent_combo.agent"])
def test_models_know_no_files_and_no_simulators(layer: str) -> None:
    for name, _ in modules_of(layer):
        known = {i for i in imports(SOURCES[name]) if within(i, OUTSIDE_OF_THE_MODELS)}
        assert not known, f"{name} imports {sorted(known)}"


def test_views_draw_tensors_whatever_they_come_from() -> None:
    for name, _ in modules_of("latent_combo.diagnostics.panels"):
        known = {i for i in imports(SOURCES[name]) if within(i, DRAWN_FROM_TENSORS)}
        assert not known, f"{name} imports {sorted(known)}"


def test_there_are_no_circles() -> None:
    graph = {name: imports(tree) & SOURCES.keys() for name, tree in SOURCES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"circle: {' -> '.join((*path, name))}"
        if name not in done:
            for imported in sorted(graph[name]):
                visit(imported, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_environments_are_made_in_few_places() -> None:
    """Where policies are scored, views ask what other actions would have led to, and data are made."""
    makers = {
        name
        for name, tree in SOURCES.items()
        if {"envs.make", "envs.vector_env"} & imports(tree) and not within(name, ("envs",))
    }
    assert makers == ENVIRONMENT_MAKERS


def test_a_fitted_model_is_read_without_knowing_of_settings_and_sessions() -> None:
    known = (
        imports(SOURCES["latent_combo.config.pretrained"]) | imports(SOURCES["latent_combo.config.recipe"])
    ) & SOURCES.keys()
    lower = (
        *("combo_common", "latent_combo.runtime", "latent_combo.evaluation.result", "latent_combo.config.recipe"),
        "latent_combo.agent.algorithms",  # plain data
    )
    assert all(within(name, lower) for name in known), known


def test_weights_of_world_models_from_elsewhere_are_read_in_one_place() -> None:
    known = {name for name, tree in SOURCES.items() if any(within(i, ("safetensors",)) for i in imports(tree))}
    here = {name for name in known if within(name, ("latent_combo",))}
    assert here == {
        "latent_combo.runtime.weights_file",
        "latent_combo.runtime.tensors_file",
        "latent_combo.pipeline.session",
    }  # which writes bad batches, and reads none


def test_nothing_unpickles_and_no_global_generator_is_seeded() -> None:
    for name, tree in SOURCES.items():
        assert "pickle" not in imports(tree), f"{name} imports pickle"
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            where, called = f"{name}, line {call.lineno}: {ast.unparse(call)}", ast.unparse(call.func)
            assert called not in FORBIDDEN, where
            if called in SAFE:
                option, safe = SAFE[called]
                given = {word.arg: ast.unparse(word.value) for word in call.keywords}
                assert given.get(option, safe) == safe and None not in given and len(call.args) <= 2, where


def test_the_global_torch_generator_is_seeded_only_where_it_is_put_back() -> None:
    seeding = {
        name
        for name, tree in SOURCES.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.manual_seed"
    }
    assert seeding <= {"combo_common.seeding"}
