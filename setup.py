"""The packages, and the folder `configs` as data of `latent_combo`: outside of it, it would hide a user's own."""

from setuptools import find_namespace_packages, setup

OWN = [f"{name}{within}" for name in ("combo_common", "envs", "data", "latent_combo") for within in ("", ".*")]
CONFIGS = "latent_combo.configs"

setup(
    packages=[
        *find_namespace_packages(include=OWN, exclude=["*.__pycache__"]),
        *(CONFIGS, *(f"{CONFIGS}.{folder}" for folder in find_namespace_packages("configs"))),
    ],
    package_dir={CONFIGS: "configs"},
)
