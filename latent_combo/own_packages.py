"""Whether the packages beside this one are the project's own. Commands import this before anything else of it."""

import importlib.util
import sys
from pathlib import Path


def require_own() -> None:
    """Leave with one line where `combo_common`, `data` or `envs` is somebody else's."""
    spec = importlib.util.find_spec("combo_common")
    found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
    if found != Path(__file__).resolve().parents[1] / "combo_common" / "__init__.py":
        print(f"error: {found} hides the package combo_common of latent-combo; work in another folder", file=sys.stderr)
        sys.exit(2)
    import combo_common.own_packages  # noqa: F401  # which looks at the others


require_own()
