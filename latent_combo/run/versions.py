"""Which versions a result was made with."""

import platform
from importlib import metadata

PACKAGES = ("latent-combo", "torch", "numpy", "mujoco", "dm-control", "gymnasium")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
