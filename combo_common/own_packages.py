"""Whether `data` and `envs` are this program's own. Commands import this before anything else of the project.

`python -m` looks for packages in the working folder first, and a folder of somebody else's often has `envs.py` or a
package `data`. A mere folder `data`, as `--data-dir data` makes, is passed over; anything else ends in one line.
"""

import importlib.util
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Where all packages of the project lie side by side."""
PACKAGES = ("data", "envs")
"""Those whose names other people use, too."""


def require_own() -> None:
    """Leave with one line where a package is somebody else's, if this is a command.

    In Python outside of a command the project's own is imported in its place, with a warning; ImportError is raised
    where the other one was imported before.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if found == ROOT / name / "__init__.py":
            continue
        if found is not None:
            refuse(name, found)
            warnings.warn(f"`import {name}` is latent-combo's from now on, and not {found}", stacklevel=2)
        _take_own(name)


def _take_own(name: str) -> None:
    """Import the project's package, which a mere folder of that name hides."""
    path = ROOT / name / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def refuse(name: str, found: Path) -> None:
    """End a command with one line, and Python where that package is imported already, for one that is not ours."""
    line = (
        f"{found} hides the package {name} of latent-combo; "
        "run the command as `latent-combo ...` instead of `python -m ...`, or work in another folder"
    )
    if not _is_command():
        if name in sys.modules:
            raise ImportError(line)
        return
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


def _is_command() -> bool:
    """Whether this process is a command of the project."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return Path(sys.argv[0]).stem == "latent-combo"
    return str(spec.name).partition(".")[0] in (*PACKAGES, "latent_combo")


require_own()
