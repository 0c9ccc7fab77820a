"""The packages, and the folder `configs` as data of `latent_combo`: outside of it, it would hide a user's own."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["latent_combo*", "envs*", "data*", "combo_common*"]),
        "latent_combo.configs",
    ],
    package_dir={"latent_combo.configs": "configs"},
)
