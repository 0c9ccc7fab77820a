"""The jobs of a comparison: each run's settings are resolved before the first one starts."""

import re
from dataclasses import replace
from pathlib import Path

from combo_common.cli import with_underscores
from combo_common.errors import UserError
from data.formats.manifest import MANIFEST_NAME
from data.formats.registry import file_suffixes
from data.reference import DatasetReference, resolve
from envs.registry import get_task
from latent_combo.comparison.fingerprint import Fingerprint, data_fingerprint
from latent_combo.comparison.given import Given
from latent_combo.comparison.job import Job
from latent_combo.config.command_line import parse, require_dataset
from latent_combo.config.schema import Config

OWN = {"dataset": "--datasets", "algorithm": "--algorithms", "seed": "--seeds", "out": "the first word, OUT"}
"""Settings that a comparison gives its runs, and how it is told."""
NOT_OF_MANY = {
    "resume": "a comparison goes on by its own command",
    "print_config": "train prints one run's settings",
    "world_model": "each run of a comparison fits its own",
}
PARTS = 3
"""Last parts of a path, or of an id, that name a dataset."""


def jobs(given: Given, fingerprints: bool = False) -> list[Job]:
    """All runs, seed by seed, so that all algorithms have a first run early on; with what each is known by on request.

    Raises UserError for an unknown algorithm, dataset or setting, for settings that do not go together, and for data
    that do not fit the observations. Data are read for their fingerprints alone.
    """
    _require_common(given.settings)
    for settings in given.own.values():
        _require_common(settings)
    configs = {
        (dataset, algorithm): _config(given, dataset, algorithm)
        for dataset in given.datasets
        for algorithm in given.algorithms
    }
    labels = _labels(given, configs)
    data = {
        dataset: data_fingerprint(configs[dataset, given.algorithms[0]]) if fingerprints else ""
        for dataset in given.datasets
    }
    return [
        _job(given, configs[dataset, algorithm], labels[dataset], seed, data[dataset], fingerprints)
        for seed in given.seeds
        for dataset in given.datasets
        for algorithm in given.algorithms
    ]


def _job(given: Given, config: Config, label: str, seed: int, data: str, fingerprints: bool) -> Job:
    run = str(given.out / label / config.algorithm / f"seed{seed}")
    own = (f"--seed={seed}", f"--out={run}")
    fingerprint = Fingerprint.of(replace(config, seed=seed, out=run), data)
    return Job(
        dataset=config.dataset,
        label=label,
        algorithm=config.algorithm,
        seed=seed,
        task=config.task,
        split=_reference(config).split,
        obs=config.obs,
        run=run,
        working_folder=str(Path.cwd()),
        words=(*_words(given, config.dataset, config.algorithm), *own),
        fingerprint=vars(fingerprint) if fingerprints else {},
    )


def _words(given: Given, dataset: str, algorithm: str) -> tuple[str, ...]:
    """The arguments of `train` but for the seed and the folder; later ones win."""
    return (*given.settings, *given.own.get(algorithm, ()), f"--dataset={dataset}", f"--algorithm={algorithm}")


def _config(given: Given, dataset: str, algorithm: str) -> Config:
    """The settings that all seeds share."""
    config, _ = parse([*_words(given, dataset, algorithm), f"--out={given.out}"])
    if config.world_model is not None:
        raise UserError(f"world_model is {config.world_model}, but {NOT_OF_MANY['world_model']}; leave it out")
    require_dataset(config)
    reference = _reference(config)
    if config.obs == "pixels" and reference.format is not None and not reference.format.holds_images:
        raise UserError(f"{dataset} holds states and no images; use --obs state")
    return config


def _reference(config: Config) -> DatasetReference:
    return resolve(config.dataset, get_task(config.task), config.data_folder)


def _require_common(settings: tuple[str, ...]) -> None:
    """Raise UserError for a setting that can not be the same for all runs."""
    for argument in with_underscores(list(settings)):
        name = argument.removeprefix("--").partition("=")[0] if argument.startswith("--") else ""
        if name in OWN:
            raise UserError(f"--{name} is of one run; a comparison is told by {OWN[name]}")
        if name in NOT_OF_MANY:
            raise UserError(f"--{name.replace('_', '-')} is of one run: {NOT_OF_MANY[name]}; leave it out")


def _labels(given: Given, configs: dict[tuple[str, str], Config]) -> dict[str, str]:
    """The names of datasets in folders and tables. Raises UserError for two that would share a folder."""
    labels = dict[str, str]()
    for dataset in given.datasets:
        label = _label(dataset, _reference(configs[dataset, given.algorithms[0]]).path)
        if (other := next((name for name, taken in labels.items() if taken == label), None)) is not None:
            raise UserError(f"{other} and {dataset} would share the folder {given.out / label}; give each an OUT")
        labels[dataset] = label
    return labels


def _label(dataset: str, path: Path | None) -> str:
    """What a folder may be called: a file's or recording's name, without its suffix; or a name's last parts."""
    given, whole = Path(dataset), path is not None and (path.is_file() or (path / MANIFEST_NAME).exists())
    name = given.name if whole else "-".join(part for part in given.parts[-PARTS:] if part not in ("/", "..", "."))
    suffix = next((end for end in file_suffixes() if name.endswith(end)), "")
    return re.sub(r"[^\w.+=]+", "-", name.removesuffix(suffix)).strip("-.") or "dataset"
