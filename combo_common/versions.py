"""Which versions a result was made with."""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("latent-combo", "torch", "numpy", "mujoco", "dm-control", "gymnasium")
ROOT = Path(__file__).parents[1]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on, and the commit of a checkout."""
    found = {"python": platform.python_version()}
    found |= {package: version_of(package) for package in PACKAGES}
    return found if (made := commit(ROOT)) is None else {**found, "commit": made}


def version_of(package: str) -> str:
    """The version of an installed package, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def commit(root: Path) -> str | None:
    """The commit of a checkout, with "-dirty" where files differ from it; None where `root` is none."""
    if not (root / ".git").exists():
        return None
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def named() -> str:
    """The program's version for people: latent-combo 0.1.0 (commit 0123456789ab)."""
    found = versions()
    return f"latent-combo {found['latent-combo']}" + (f" (commit {found['commit']})" if "commit" in found else "")
