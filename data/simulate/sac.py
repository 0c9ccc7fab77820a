"""The behaviour learner: soft actor-critic on states (SBX, Stable-Baselines3 in JAX), with its whole experience kept.

A behaviour folder holds `episodes-NNNNNNN.npz`, the episodes that ended in some 10,000 agent steps, in order of
collection: the columns of `data.episode.Episode`, one episode after another; `actor-NNNNNNN.safetensors`, the policy
after that many agent steps; `learner.msgpack`, from which training continues; `learner.json`, its task and seed; and
`behaviour.json`, the measured returns. What is continued goes on from the same weights and replay, with other random
numbers, and without the episode that was cut short.
"""

import io
import json
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as pack

from combo_common.errors import UserError
from combo_common.files import write_atomically, writing
from combo_common.interrupt import held
from combo_common.progress import progress_bar
from data.episode import Episode
from data.safe.npz import read_npz
from data.simulate.rollout import PolicySpec, Track, mean_return
from envs.base import TaskEnv
from envs.make import make
from envs.task import Task

STEPS_A_FILE = 10_000
"""At most; a task that is learnt faster has its own."""
EPISODE_COLUMNS = ("action", "reward", "discount", "is_first", "is_last", "is_terminal", "state")
"""Columns of a replay, besides `physics`, or `image` of a task that has none."""
LEARNER = "learner.json"
"""Task and seed that a folder belongs to."""
STATE = "learner.msgpack"
"""Networks and optimisers of the last save."""
TRAIN_FREQ = 50
"""Agent steps between updates, and updates that follow them: one each on the whole, as in the code of D4RL's data."""
LAYERS = {"Dense_0": "latent_pi.0", "Dense_1": "latent_pi.2", "Dense_2": "mu", "Dense_3": "log_std"}
"""What flax calls the layers of the actor, and what Stable-Baselines3 does, and a snapshot."""
SNAPSHOT_EVERY = 2
"""Files between snapshots of the policy (20,000 agent steps, or fewer)."""
RANDOM_EPISODES = 4
"""Episodes' worth of uniform actions before the policy acts."""


NOISES = (3.0, 2.0, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.1)
"""Standard deviations of the noise on a script, worst policy first."""


class Recorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps every episode that passes through an environment."""

    def __init__(self, env: TaskEnv) -> None:
        super().__init__(env)
        self.episodes: list[Episode] = []
        self._task_env = env
        self._track: Track | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode; one that was cut short is dropped."""
        observation, info = self.env.reset(**kwargs)
        self._track = Track(self._task_env, info)
        return observation, info

    def step(self, action: NDArray[np.float32]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Pass an action on and keep what it led to."""
        assert self._track is not None, "an episode is started before it goes on"
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._track.add(np.asarray(action, np.float32), float(reward), info)
        if terminated or truncated:
            self.episodes.append(self._track.episode(terminated))
        return observation, reward, terminated, truncated, info


def replay_files(folder: Path) -> list[Path]:
    """The replay's files, in order of collection."""
    return sorted(folder.glob("episodes-*.npz"))


def read_replay(folder: Path) -> list[Episode]:
    """Every whole episode of a behaviour policy's replay, in order of collection."""
    files = replay_files(folder)
    if not files:
        raise UserError(f"{folder} holds no episodes-*.npz; let data.collect train the behaviour policy first")
    return [episode for file in files for episode in _read_episodes(file)]


def _read_episodes(file: Path) -> list[Episode]:
    loaded = read_npz(file, str(file), (*EPISODE_COLUMNS, "physics", "image"))
    if not set(EPISODE_COLUMNS) < set(loaded):
        raise UserError(f"{file} is of another version of the program; train the behaviour policy anew")
    starts = np.flatnonzero(loaded["is_first"])[1:]
    parts = {name: np.split(column, starts) for name, column in loaded.items()}
    return [Episode(**{name: part[i] for name, part in parts.items()}) for i in range(len(starts) + 1)]


def train_behaviour(task: Task, folder: Path, steps: int, seed: int) -> None:
    """Train soft actor-critic for `steps` agent steps, or continue an earlier run to that number, on one core.

    It is saved every 10,000 steps, or as often as the task says, so Ctrl-C loses at most those. Raises UserError
    without SBX, and when the folder cannot be written or is of another version.
    """
    if not task.state_dim:
        raise UserError(f"{task.name} observes images only, of which no behaviour policy is trained; use --policy")
    each = min(STEPS_A_FILE, task.learns_within)
    total = -(-steps // each) * each
    done = len(replay_files(folder)) * each
    _check_same_learner(folder, {"task": task.name, "seed": seed})
    if done >= total:
        return
    if done and not (folder / STATE).exists():
        raise UserError(f"{folder} is of another version of the program; train the behaviour policy anew")
    # Read when JAX is imported first. A second core would bring the small products of these networks nothing.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        from sbx import SAC
        from stable_baselines3.common.callbacks import BaseCallback
    except ImportError as error:
        raise UserError('collecting needs SBX: pip install "latent-combo[collect]"') from error

    class Progress(BaseCallback):
        """Moves the bar, and shows the return of the last episode."""

        def _on_step(self) -> bool:
            bar.update(1)
            if env.episodes and self.num_timesteps % 500 == 0:
                bar.set_postfix(episode_return=f"{env.episodes[-1].episode_return:.0f}", refresh=False)
            return True

    env = Recorder(make(task, "state"))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    model = SAC(
        "MlpPolicy", env, learning_rate=3e-4, batch_size=256, learning_starts=RANDOM_EPISODES * task.horizon,
        train_freq=TRAIN_FREQ, gradient_steps=TRAIN_FREQ, buffer_size=total, seed=seed + done,
        policy_kwargs={"net_arch": [256, 256]},
    )  # fmt: skip
    if done:
        _restore(model, folder, done)
    with progress_bar(total=total, initial=done, unit="step", desc=f"SAC on {task.name}", smoothing=0.05) as bar:
        while done < total:
            model.learn(each, callback=Progress(), reset_num_timesteps=False)
            done += each
            if done % (SNAPSHOT_EVERY * each) == 0 or done >= total:
                write_atomically(folder / f"actor-{done:07d}.safetensors", pack(actor_weights(model)))
            _save(model, env.episodes, folder, done)
            env.episodes.clear()


def actor_weights(model: Any) -> dict[str, NDArray[np.float32]]:
    """The actor of SBX's SAC, as a snapshot holds it: weights (out, in) and biases (out,) by `LAYERS`' names."""
    layers = model.policy.actor_state.params["params"]
    weights = {}
    for theirs, ours in LAYERS.items():
        weights[f"{ours}.weight"] = np.asarray(layers[theirs]["kernel"]).T.copy()
        weights[f"{ours}.bias"] = np.asarray(layers[theirs]["bias"]).copy()
    return weights


def _check_same_learner(folder: Path, learner: dict[str, Any]) -> None:
    """Note whose folder this is when it is new. Raises UserError if it is another learner's."""
    path = folder / LEARNER
    if path.exists():
        for name, value in json.loads(path.read_text()).items():
            if learner[name] != value:
                raise UserError(
                    f"{folder} was trained with {name} {value}, not {learner[name]}; name another --behaviour folder"
                )
    elif not replay_files(folder):
        write_atomically(path, json.dumps(learner, indent=2).encode())


def _networks(model: Any) -> dict[str, Any]:
    """The state of training that is saved: parameters, targets and optimisers."""
    return {"actor": model.policy.actor_state, "critics": model.policy.qf_state, "entropy": model.ent_coef_state}


def _save(model: Any, episodes: list[Episode], folder: Path, done: int) -> None:
    """Write the learner, then the episodes: the files of episodes count the steps, so they come last."""
    from flax.serialization import to_bytes

    replay = io.BytesIO()
    names = episodes[0].columns() if episodes else EPISODE_COLUMNS
    columns: dict[str, Any] = {
        name: np.concatenate([episode.columns()[name] for episode in episodes]) for name in names
    }
    np.savez_compressed(replay, **columns)
    with held():  # networks and episodes of one step
        write_atomically(folder / STATE, to_bytes(_networks(model)))
        write_atomically(folder / f"episodes-{done:07d}.npz", replay.getvalue())


def _restore(model: Any, folder: Path, steps: int) -> None:
    """Put weights, optimisers and the replay buffer back as they were."""
    from flax.serialization import from_bytes

    try:
        saved = from_bytes(_networks(model), (folder / STATE).read_bytes())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{folder / STATE} is damaged ({error}); train the behaviour policy anew") from error
    model.policy.actor_state, model.policy.qf_state = saved["actor"], saved["critics"]
    model.ent_coef_state = saved["entropy"]
    episodes = read_replay(folder)
    columns = {name: np.concatenate([episode.columns()[name][1:] for episode in episodes]) for name in EPISODE_COLUMNS}
    count = len(columns["action"])
    buffer = model.replay_buffer
    shape = (count, 1, -1)
    before = np.concatenate([episode.columns()["state"][:-1] for episode in episodes])
    buffer.observations[:count] = before.reshape(shape)
    buffer.next_observations[:count] = columns["state"].reshape(shape)
    buffer.actions[:count] = columns["action"].reshape(shape)
    buffer.rewards[:count] = columns["reward"].reshape(count, 1)
    buffer.dones[:count, 0] = columns["is_last"]
    buffer.timeouts[:count, 0] = columns["is_last"] & ~columns["is_terminal"]
    buffer.pos, buffer.full = count % buffer.buffer_size, count >= buffer.buffer_size
    model.num_timesteps = steps


def measure(
    task: Task, folder: Path, episodes: int = 5, reference_episodes: int = 20, processes: int = 1
) -> dict[str, Any]:
    """The mean return of each snapshot, of random actions and of the last snapshot (the expert); kept in a file.

    Snapshots act by their mode, over `episodes` episodes of fixed seeds; the references over `reference_episodes`.
    """
    path = folder / "behaviour.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"snapshots": {}}
    snapshots = sorted(folder.glob("actor-*.safetensors"))
    for file in progress_bar([s for s in snapshots if s.name not in known["snapshots"]], desc="measuring snapshots"):
        actor = PolicySpec(file, sampled=False)
        known["snapshots"][file.name] = mean_return(task, actor, episodes, seed=10_000)
    if known.get("expert") != snapshots[-1].name:
        last = PolicySpec(snapshots[-1], sampled=False)
        known["expert"] = snapshots[-1].name
        known["expert_return"] = mean_return(task, last, reference_episodes, 20_000, processes)
        known["random_return"] = mean_return(task, PolicySpec(), reference_episodes, 20_000, processes)
        known["reference_episodes"] = reference_episodes
    write_atomically(path, json.dumps(known, indent=2).encode())
    return known


def measure_script(task: Task, episodes: int = 20, processes: int = 1) -> dict[str, Any]:
    """As `measure`, of the task's script with each of NOISES, worst first."""
    returns = {
        f"script-{rank:02d}": mean_return(task, PolicySpec(noise=noise), episodes, 10_000, processes)
        for rank, noise in enumerate(progress_bar(NOISES, desc="measuring the script", unit="noise"))
    }
    return {
        "snapshots": returns,
        "expert": max(returns, key=lambda name: returns[name]),
        "expert_return": max(returns.values()),
        "random_return": mean_return(task, PolicySpec(), episodes, 20_000, processes),
        "reference_episodes": episodes,
    }
