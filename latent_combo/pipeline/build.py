"""From a run's settings to its parts: the device, how it computes, world model and agents."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from combo_common.errors import UserError
from combo_common.seeding import initial_weights
from envs.task import Task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.frames import FrameStack
from latent_combo.agent.pixel_actor_critic import PixelActorCritic
from latent_combo.agent.settings import AgentConfig
from latent_combo.config.pretrained import read_pretrained, require_fit
from latent_combo.config.recipe import GROUPS, Recipe
from latent_combo.config.saved import settings_of
from latent_combo.config.schema import Config
from latent_combo.numerics.choices import Choices
from latent_combo.numerics.matmul import LIBRARIES, PRECISIONS, Library, fastest_library, fastest_precision, use_library
from latent_combo.numerics.precision import multiplies_bfloat16, set_precision
from latent_combo.runtime.weights_file import Weights
from latent_combo.world_model.base import WorldModel
from latent_combo.world_model.ensemble import TERMINAL_HEAD, EnsembleWorldModel
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.termination_fns import LEARNED
from latent_combo.world_model.tune import with_fastest_ways


def choose_device(name: str) -> torch.device:
    """Choose by name: auto is CUDA where there is one. Raises UserError if CUDA is asked for in vain."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but torch finds none; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def with_machine_choices(config: Config, device: torch.device) -> Config:
    """Settle what this machine decides, so that a run's settings say it: how products and convolutions are computed.

    What is measured is kept in a file of the data folder, and measured once. Raises UserError where CUDA graphs are
    asked for and there is no GPU.
    """
    if config.cuda_graphs == "on" and device.type != "cuda":
        raise UserError("cuda_graphs is on, but the device is a CPU, which has none; use --cuda-graphs auto")
    choices = Choices(config.data_folder, device)
    if config.products == "auto" and device.type == "cpu":
        library = choices.get("library of products", LIBRARIES, fastest_library)
        config = replace(config, products=cast(Library, library))
        print(f"products      {library}", flush=True)
    if config.agent.bfloat16:
        use(config, device)  # bfloat16 is compared with the library that was chosen
        config = with_precision(config, device, choices)
        print(f"log-sum-exp   products in {'bfloat16' if config.agent.bfloat16 else 'float32'}", flush=True)
    if config.has_world_model and config.observation_spec.pixels and not config.rssm.conv.ways:
        images = config.world_model_fit.batch * config.world_model_fit.length
        conv = with_fastest_ways(config.rssm.conv, device, images, choices, config.cuda_graphs)
        config = replace(config, rssm=replace(config.rssm, conv=conv))
        print(
            f"convolutions  {', '.join(conv.ways)} (the fastest on {choices.machine['name']}, by {choices.path})",
            flush=True,
        )
    return config


def with_precision(config: Config, device: torch.device, choices: Choices | None = None) -> Config:
    """Leave `agent.bfloat16` on only where the device has instructions for it, and a CPU is faster by them.

    The latter is measured if there are `choices` to keep it in.
    """
    low = config.agent.bfloat16 and multiplies_bfloat16(device)
    if low and device.type == "cpu" and choices is not None:
        name = f"precision of the agents' products, beside {config.products}"
        low = choices.get(name, PRECISIONS, fastest_precision) == "bfloat16"
    return replace(config, agent=replace(config.agent, bfloat16=low))


def use(config: Config, device: torch.device) -> None:
    """Let products be computed as a run's settings say, from now on.

    Raises UserError for a library that this torch lacks.
    """
    set_precision(device, config.tf32)
    try:
        use_library(None if config.products == "auto" else config.products)
    except ValueError as error:
        raise UserError(f"{error}; set products to mkl or auto") from error


def build_world_model(config: Config, task: Task, device: torch.device) -> WorldModel:
    """The world model of what is observed, with fresh weights, the same for the same seed."""
    with initial_weights(config.seed, "world model"):
        if config.observation_spec.pixels:
            vector_dim = len(task.vector_indices(config.observation_spec.vectors))
            return RecurrentWorldModel(config.rssm, task.action_dim, vector_dim).to(device)
        return EnsembleWorldModel(config.ensemble, task.state_dim, task.action_dim, task.termination).to(device)


def load_pretrained(path: Path, config: Config, task: Task, device: torch.device) -> tuple[WorldModel, Recipe]:
    """A fitted world model, frozen, and what it is; lines say which, and what a run can't know of it.

    Raises UserError for one whose tensors are not those of the config.
    """
    recipe, weights = read_pretrained(path)
    if not config.observation_spec.pixels:
        _require_terminations(weights, task, path)
    settings = f"the settings (--preset, --{GROUPS[config.obs]}.*)" if recipe is None else "its own recipe"
    with torch.device("meta"):  # whatever sizes the settings name, no memory is taken before the weights have them
        described = build_world_model(config, task, torch.device("meta"))
    require_fit(weights, described, path, settings)
    model = build_world_model(config, task, device)
    model.load_state_dict(weights)
    if recipe is None:
        unknown: dict[str, None] = dict.fromkeys(("dataset", "steps", "world_model_fit", "metrics"))
        recipe = Recipe.of_settings(settings_of(config), versions={}, **unknown)
    of = "unknown data" if recipe.dataset is None else f"{recipe.dataset}, {recipe.steps} steps"
    print(f"world model   {path}, fitted to {of}", flush=True)
    if recipe.dataset != config.dataset:
        of = recipe.dataset or "unknown data"
        print(f"the world model was fitted to {of}: what is held out of {config.dataset} says little of it", flush=True)
    return model.requires_grad_(False), recipe


def _require_terminations(weights: Weights, task: Task, path: Path) -> None:
    """Raise UserError where an ensemble has a terminal head and its task has a rule instead, or the other way round."""
    has_head = any(name.startswith(f"{TERMINAL_HEAD}.") for name in weights)
    if has_head == (task.termination == LEARNED):
        return
    if has_head:
        raise UserError(
            f"the world model of {path} has learned terminations, but those of {task.name} follow a rule "
            f"({task.termination}); name the --task that it was fitted for, or fit the model anew"
        )
    raise UserError(
        f"the world model of {path} has no terminal head, but terminations of {task.name} are learned; "
        "fit the model anew, without --world-model"
    )


def build_frame_stack(config: Config, task: Task) -> FrameStack:
    """What agents without a world model know of an episode."""
    return FrameStack(config.agent.encoder.frames, config.rssm.conv.image_size, task.action_dim)


def build_agent(
    config: Config, task: Task, model: WorldModel | FrameStack, device: torch.device
) -> ConservativeActorCritic:
    """A stack of agents on a world model's features, or on stacked frames, with fresh weights.

    They are the same for the same seed.
    """

    def made(members: list[AgentConfig]) -> ConservativeActorCritic:
        if isinstance(model, FrameStack):
            return PixelActorCritic(members, config.rssm.conv.image_size, task.action_dim, device)
        return ConservativeActorCritic(members, model.feature_dim, task.action_dim, device)

    members = config.agent.members()
    with initial_weights(config.seed, "agent"):
        agent = made(members)
    for index, own in enumerate(members):
        if own.initial_seed is not None:
            assert isinstance(own.initial_seed, int)
            with initial_weights(own.initial_seed, "agent"):
                agent.begin_as(index, made([own]))
    return agent
