"""What is refused before anything is written: data that a run could not be trained or measured on."""

import numpy as np
import torch
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from envs.task import Task
from latent_combo.config.schema import Config
from latent_combo.diagnostics.held_out import MIN_EPISODE_ROWS
from latent_combo.latents.segments import SegmentSampler
from latent_combo.numerics.data_parallel import WHOLE, share_of_process
from latent_combo.world_model.termination_fns import LEARNED, TERMINATION_FNS

LEAST_KNOWN_ENDINGS = 0.9
"""Share of a dataset's terminal states that the task's rule must call so."""


def check_lengths(
    data: TrajectoryDataset, train: NDArray[np.int64], validation: NDArray[np.int64], length: int
) -> None:
    """Raise UserError where no episode is long enough to train on, or to measure on, before anything is written."""
    SegmentSampler(data, train, length)
    SegmentSampler(data, validation, max(length, MIN_EPISODE_ROWS))


def check_learnable(data: TrajectoryDataset, train: NDArray[np.int64], length: int, name: str) -> None:
    """Raise UserError where episodes of a dataset terminate, but no segment that a model is fitted to shows it.

    A dataset without terminations is none of these: a terminal head learns that no state is terminal.
    """
    if not data.is_terminal.any():
        return
    if not data.endings_seen:
        raise UserError(
            f"episodes of {name} terminate, but the data do not hold the states that they end in, so terminations can "
            "not be learned; use data with next_observations, or a task whose rule is known"
        )
    long = train[data.lengths[train] >= length]
    if not data.is_terminal[(data.starts + data.lengths - 1)[long]].any():
        raise UserError(
            f"episodes of {name} terminate, but none of those that the model is fitted to: {len(long)} of at least "
            f"{length} rows; use another --split-seed, a smaller --validation-fraction or --world-model-fit.length"
        )


def check_endings(data: TrajectoryDataset, task: Task, name: str, model_learns_them: bool) -> None:
    """Raise UserError where episodes of a dataset end in a way that the model of it would not know."""
    if not data.is_terminal.any() or model_learns_them:
        return
    if data.observation.ndim == 4:
        raise UserError(
            f"episodes of {name} terminate, and a model without endings imagines on; set --rssm.discount_head true"
        )
    if not data.endings_seen and task.termination not in ("none", LEARNED):
        return  # the rows that would tell are not there
    known = TERMINATION_FNS[task.termination](torch.from_numpy(data.observation[data.is_terminal])).float().mean()
    if float(known) < LEAST_KNOWN_ENDINGS:
        raise UserError(
            f"episodes of {name} terminate, but {float(known):.0%} of their last states end {task.name} by the rule "
            f"that is known of it ({task.termination}); name the --task that the data are of"
        )


def require_shareable(config: Config) -> None:
    """Raise UserError where `torchrun` started several processes for a run whose model they can't fit together."""
    share, fitted = share_of_process(), config.world_model_fit
    if share == WHOLE:
        return
    if not config.has_world_model or config.world_model is not None or not config.observation_spec.pixels:
        raise UserError(
            "torchrun shares the fit of a world model of images, and this run has none to fit; start one process"
        )
    if fitted.batch % share.processes:
        raise UserError(
            f"world_model_fit.batch is {fitted.batch}, which {share.processes} processes can't share alike; "
            f"set it to a multiple of {share.processes}"
        )
    if config.rssm.free_nats:
        raise UserError(
            f"rssm.free_nats is {config.rssm.free_nats}, which counts for a whole batch; set it to 0, or start one "
            "process"
        )
