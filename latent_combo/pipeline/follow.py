"""What all but the first of several processes do that `torchrun` started for a run."""

from pathlib import Path

from data.split import split_episodes
from envs.registry import get_task
from latent_combo.config.saved import load_config
from latent_combo.numerics.data_parallel import Group, leave_signals_to_the_first
from latent_combo.numerics.precision import set_precision
from latent_combo.pipeline.build import choose_device, use
from latent_combo.pipeline.model_phase import begin_fit
from latent_combo.pipeline.prepare import load_data


def follow() -> None:
    """Compute a process's share of the world model's fit, and nothing else.

    Signals are left to the first, which saves and ends; the others end when it does. Raises UserError then.
    """
    group = Group.joined()
    config = load_config(Path(group.told()))
    leave_signals_to_the_first()
    device = choose_device(config.device)
    set_precision(device, config.tf32)
    use(config, device)
    task = get_task(config.task)
    data = load_data(config, task)
    split = split_episodes(len(data.lengths), config.validation_fraction, config.seed_of_split)
    fit, feed = begin_fit(config, task, device, data, split, group)
    fit.begin_together()
    try:
        for _ in fit:
            pass
    finally:
        feed.close()
    group.leave()
