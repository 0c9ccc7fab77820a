"""The whole configuration of a run, composed of its parts' configs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from combo_common.paths import path_text
from combo_common.suggest import did_you_mean, nearest
from combo_common.validation import require_choices, require_not_negative, require_positive
from data.locate import default_data_dir
from envs.registry import whole_name
from envs.task import ObservationSpec
from latent_combo.agent.algorithms import ALGORITHMS, WEIGHED
from latent_combo.agent.settings import AgentConfig, AgentFitConfig
from latent_combo.diagnostics.settings import ViewsConfig
from latent_combo.evaluation.settings import ScoreConfig
from latent_combo.latents.settings import EncodeConfig
from latent_combo.world_model.settings import EnsembleConfig, FitConfig, RecurrentConfig

PATHS = ("out", "dataset", "data_dir", "world_model")
"""Settings that are paths, or may be: `~` in them is the home folder."""


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run does."""

    obs: Literal["pixels", "state"] = "pixels"
    """What the policy sees: images (pixels) or vectors (state)."""
    vectors: tuple[str, ...] | str = ()
    """What the policy sees beside pixels, such as proprioception: `all` numbers of the task's vector observation, or a
    list of their names (`Task.state_names`) or of what these begin with, such as [place, velocity]."""
    task: str = "cartpole-balance"
    """What the policy is to do, such as walker-walk or hopper; by default the dataset's own task, and a dataset that
    does not say its task needs this."""
    dataset: str = "cartpole-balance-mini"
    """A name below the data folder, a recording that comes with the repository, a path (of this project, of V-D4RL,
    DreamerV2, LOMPO, D4RL or Minari), one of D4RL's names (downloaded if it is not here), or a Minari id."""
    algorithm: str = "combo"
    """How the agent is trained: conservatively on data and rollouts of the model (combo), with the conservatism on the
    dataset's states (cql-mbpo), without any (mbpo), or with a penalty of the model's uncertainty instead (mopo, lompo,
    morel, mobile); without the model's rollouts (cql, sac); near the behaviour (bear, brac-p, brac-v, td3-bc, rebrac);
    by imitation (bc); without a world model, from stacked frames by an encoder of its own (cql-pixels, drq-bc); or by
    an algorithm that was registered (agent/algorithms.py). It sets some of the `agent` settings."""
    preset: str = "quickstart"
    """Sizes and schedules: quickstart (minutes on two cores), own (the same for images of a task of your own), small
    (an hour), gpu (the paper's sizes for images, in minutes on a GPU) or paper (the paper's sizes and settings, for a
    GPU)."""
    select: bool = False
    """Of a stack whose agents differ in their settings, let the paper's offline rule choose one: the lowest regulariser
    at the end of training (section 3, B.2). The final score is of that agent alone; no score has any part in it."""
    seed: int = 0
    """It decides the initial weights, all random draws, and which episodes are held out."""
    out: str = "runs/latest"
    """The run's folder, which this command makes."""
    data_dir: str | None = None
    """The folder of datasets and caches; null: $LATENT_COMBO_DATA, or else latent-combo in $XDG_CACHE_HOME or
    ~/.cache."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The processor that trains: auto takes a GPU where there is one."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Run training steps as CUDA graphs: auto (where there is a GPU and it works), on (or end with an error), off; in a
    file in quotes. Results are the same, but for the algorithms that cuDNN chooses."""
    products: Literal["auto", "mkl", "onednn"] = "auto"
    """The library that multiplies float32 matrices on a CPU: mkl or onednn; auto measures once which is faster here,
    and writes it into the run's settings."""
    tf32: bool = True
    """On a GPU, multiply float32 matrices by tensor cores, their entries rounded to 10 bits; sums stay float32."""
    look: Literal["fast", "full"] = "fast"
    """How observations are drawn: fast, or the suite's full look, which other programs' images have unless this says
    otherwise."""
    world_model: str | None = None
    """A fitted world model to train agents on instead of fitting one; the `world_model_fit` settings are then
    unused. It is the folder of a run or a file of `latent-combo export`, whose settings of the world model, task,
    dataset and held-out episodes this run takes over."""
    validation_fraction: float = 0.1
    """Share of the episodes that nothing is trained on."""
    split_seed: int | None = None
    """It decides which episodes are held out; null: `seed` does."""
    mapped: bool | None = None
    """Leave the images on the disk instead of in memory; null: if they would take more than half of what is free."""
    skip_corrupt: bool = False
    """Leave out episodes whose files are damaged, and say how many; otherwise they end the run."""
    log: list[Literal["tensorboard", "trackio", "wandb"]] | str = "tensorboard"
    """Where scalars go besides metrics.csv, with commas between (tensorboard,wandb): TensorBoard, Trackio, Weights &
    Biases; the last two are extras of those names. Without tensorboard, its pictures, histograms and projector are left
    out."""
    log_every: int = 50
    """Steps between rows of metrics."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Checkpoints of each phase that stay, the last ones: where one is damaged, a run goes on from the one before."""
    rssm: RecurrentConfig = field(default_factory=RecurrentConfig)
    """The world model of pixels."""
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    """The world model of states."""
    world_model_fit: FitConfig = field(default_factory=FitConfig)
    encode: EncodeConfig = field(default_factory=EncodeConfig)
    agent: AgentConfig = field(default_factory=AgentConfig)
    agent_fit: AgentFitConfig = field(default_factory=AgentFitConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)

    @property
    def observation_spec(self) -> ObservationSpec:
        """How the task is observed."""
        vectors = (self.vectors,) if isinstance(self.vectors, str) else self.vectors
        return ObservationSpec(self.obs, self.look, self.rssm.conv.image_size, vectors)

    @property
    def has_world_model(self) -> bool:
        """Whether the algorithm learns in the latents of a world model."""
        return ALGORITHMS[self.algorithm].has_world_model

    @property
    def seed_of_split(self) -> int:
        """What decides which episodes are held out."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def data_folder(self) -> Path:
        """Where this run's datasets and caches live."""
        return Path(self.data_dir) if self.data_dir else default_data_dir()

    def __post_init__(self) -> None:
        words = self.log.split(",") if isinstance(self.log, str) else self.log
        object.__setattr__(self, "log", list(dict.fromkeys(word.strip() for word in words if word.strip())))
        require_choices(self)
        object.__setattr__(self, "task", whole_name(self.task))
        for name in PATHS:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, path_text(value))
        if self.algorithm not in ALGORITHMS:  # which are open to more, and so no Literal
            meant = did_you_mean(nearest(self.algorithm, ALGORITHMS))
            raise ValueError(f"algorithm is {self.algorithm!r}; it is one of {', '.join(ALGORITHMS)}{meant}")
        if (unfit := ALGORITHMS[self.algorithm].unfit_for(self.obs)) is not None:
            raise ValueError(f"algorithm is {self.algorithm}, but obs is {self.obs}: {unfit}")
        for name, needed in ALGORITHMS[self.algorithm].settings.items():
            if getattr(self.agent, name) != needed:
                raise ValueError(
                    f"algorithm is {self.algorithm}, which has agent.{name} {needed}, but that is "
                    f"{getattr(self.agent, name)}; leave one of them out"
                )
        for name, users in WEIGHED.items():
            if getattr(self.agent, name) != getattr(AgentConfig, name) and ALGORITHMS[self.algorithm].lacks(name):
                raise ValueError(
                    f"agent.{name} is {getattr(self.agent, name)}, but nothing in algorithm {self.algorithm} has such "
                    f"a weight; leave it out, or use one of {', '.join(users)}"
                )
        if not self.has_world_model:
            self._require_images_alone()
        if self.obs == "state" and (self.world_model_fit.random_shift or self.encode.random_shift):
            raise ValueError(
                "obs is state, and shifts move images; leave world_model_fit.random_shift and encode.random_shift at 0"
            )
        if self.obs == "state" and self.vectors:
            raise ValueError("obs is state, which sees all vectors; leave vectors out, or set obs to pixels")
        if self.obs == "state" and self.world_model is None:
            self._require_transitions()
        if self.select:
            self._require_candidates()
        require_positive(self, "log_every", "save_every", "keep_checkpoints")
        require_not_negative(self, "seed", *(["split_seed"] if self.split_seed is not None else []))
        if not self.out:
            raise ValueError("out is empty; name the folder of the run")
        if not 0.0 < self.validation_fraction < 1.0:
            raise ValueError(f"validation_fraction is {self.validation_fraction}; it is a share between 0 and 1")

    def _require_candidates(self) -> None:
        """Raise ValueError where there is nothing to select from, or nothing to select by."""
        if self.agent.num_agents < 2:
            raise ValueError("select is true, but there is one agent; give a setting as a list, such as agent.beta")
        betas = self.agent.beta if isinstance(self.agent.beta, list) else [self.agent.beta]
        if min(betas) <= 0.0:
            raise ValueError(
                "select is true, but an agent has agent.beta 0, and so no regulariser to be chosen by; set beta above 0"
            )

    def _require_images_alone(self) -> None:
        """Raise ValueError where an algorithm without a world model is given one, or anything but images to see."""
        if self.vectors:
            raise ValueError(f"algorithm is {self.algorithm}, which sees images alone; leave vectors out")
        if self.world_model is not None:
            raise ValueError(f"algorithm is {self.algorithm}, which has no world model; leave world_model out")
        try:
            self.agent.encoder.map_size(self.rssm.conv.image_size)
        except ValueError as error:
            raise ValueError(f"agent.{error}") from error

    def _require_transitions(self) -> None:
        """Raise ValueError where a batch of the ensemble's fit has no transition for each of its networks."""
        batch, each, members = self.world_model_fit.batch, self.world_model_fit.length - 1, self.ensemble.members
        if each == 0:
            raise ValueError("world_model_fit.length is 1, and a transition is of two rows; set it to 2 or more")
        if batch * each < members:
            raise ValueError(
                f"world_model_fit.batch is {batch}, which makes {batch * each} transitions a step, fewer than the "
                f"{members} networks of ensemble.members that share them; set it to {-(-members // each)} or more"
            )
