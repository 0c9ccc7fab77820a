"""A policy as one file: the world model's filter, if it has one, one agent's actor, and the settings to build both.

Reading it needs neither the run nor a simulator, and runs nothing of the file. What a policy does not need, the rest of
the world model and the critics, is left out.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import torch
from torch import Tensor, nn

from combo_common.bounded_json import parse_json
from combo_common.errors import UserError
from combo_common.paths import given_path
from combo_common.versions import versions
from latent_combo.agent.encoder import EncodedActor
from latent_combo.agent.encoder_settings import PixelEncoderConfig
from latent_combo.agent.frames import FrameStack
from latent_combo.agent.networks import Actor
from latent_combo.agent.settings import NetworkConfig
from latent_combo.api.policy import NumpyPolicy, SeenVectors
from latent_combo.evaluation.policy import Policy
from latent_combo.runtime.renamed import with_new_names
from latent_combo.runtime.weights_file import Weights, read_metadata, read_weights, write_weights
from latent_combo.world_model.base import WorldModel
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import EnsembleConfig, RecurrentConfig

if TYPE_CHECKING:  # a policy is read without runs and simulators
    from latent_combo.api.run import Run

FORMAT = 2
"""Version of what the settings hold; 1 has those of the world model by names of before, and is read, too."""
METADATA = "policy"
"""Where the settings stand in a file's metadata."""
MODEL, ACTOR = "world_model.", "actor."
"""How the names of the two parts' weights begin."""
FILTERS = {"pixels": ("encoder.", "vector_encoder.", "rssm."), "state": ("observation_mean", "observation_std")}
"""The weights that a world model filters by, as their names begin, by what it observes."""
PRIOR = "rssm.prior."
"""Of these the ones that predict, which filtering does without."""
T = TypeVar("T")


@dataclass(frozen=True)
class PolicySettings:
    """What a policy is, and where it comes from."""

    obs: str
    """pixels or state."""
    task: str
    action_repeat: int
    """Control steps of the simulator in one step of the policy."""
    look: str
    """How images are drawn."""
    observation_shape: list[int]
    """[H, W, 3] or [S]."""
    action_dim: int
    model: dict[str, Any]
    """All settings of the world model, nested; empty for an actor that sees stacked frames."""
    actor: dict[str, Any]
    """Sizes of the policy's network."""
    sample: bool
    """Whether the filter's latents are sampled, or their means."""
    seed: int
    """Of the latents' noise."""
    algorithm: str
    dataset: str
    agent: int
    """Which one of its stack."""
    updates: int
    versions: dict[str, str]
    state_names: list[str] = field(default_factory=list)
    """What each number of the task's vector observation is, where some are seen beside images; otherwise empty."""
    vectors: list[int] = field(default_factory=list)
    """Which of these numbers are seen."""
    encoder: dict[str, Any] | None = None
    """All settings of the actor's own encoder of stacked frames; None for an actor on a world model's features."""

    @property
    def images(self) -> bool:
        """Whether the policy sees images."""
        return self.obs == "pixels"

    def to_json(self) -> str:
        """All of it on a line, with the version of the format."""
        return json.dumps({"format": FORMAT, **asdict(self)})


def export_policy(run: "Run", path: str | Path, agent: int | None = None) -> Path:
    """Write one agent's policy, or the `selected` one's, as a file, which `load_policy` reads. Returns its path.

    Raises UserError where the file is there already or can't be written, and for an agent that is not there.
    """
    config, out = run.config, given_path(path)
    agent = run.selected if agent is None else agent
    parts, weights = FILTERS[config.obs], Weights()
    if config.has_world_model:
        known = run.world_model.state_dict().items()
        weights = {f"{MODEL}{name}": tensor for name, tensor in known if _filters(name, parts)}
    weights |= {f"{ACTOR}{name}": tensor for name, tensor in run.actor(agent).state_dict().items()}
    vectors = run.vectors
    settings = PolicySettings(
        **{name: getattr(config, name) for name in ("obs", "look", "seed", "algorithm", "dataset")},
        task=run.task.name,
        action_repeat=run.task.action_repeat,
        observation_shape=list(run.observation_shape),
        action_dim=run.trained.filter.action_dim,
        model=asdict(config.rssm if config.obs == "pixels" else config.ensemble) if config.has_world_model else {},
        encoder=None if config.has_world_model else asdict(config.agent.encoder),
        actor=asdict(config.agent.actor_network),
        sample=config.encode.sample,
        agent=agent,
        updates=run.trained.agent_step,
        versions=versions(),
        state_names=[] if vectors is None else list(vectors.names),
        vectors=[] if vectors is None else list(vectors.indices),
    )
    write_weights(out, weights, {METADATA: settings.to_json()})
    return out


def load_policy(path: str | Path, device: str = "cpu", seed: int | None = None) -> NumpyPolicy:
    """Read the policy of a file that `export_policy` wrote.

    `seed` is of the latents' noise (None: that of the run). Raises UserError for any other file, and for weights that
    are not of the sizes that the settings say.
    """
    file, where = given_path(path), _device(device)
    settings = read_policy_settings(file)
    try:
        with torch.device("meta"):  # whatever sizes the settings name, no memory is taken before the weights have them
            model, actor = _filter(settings), _actor(settings)
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise _unfit(file, f"its settings do not go together ({error})") from error
    weights = read_weights(file)
    parts = [(actor, ACTOR, set(actor.state_dict()))]
    if not isinstance(model, FrameStack):
        filtering = {name for name in model.state_dict() if _filters(name, FILTERS[settings.obs])}
        parts.append((model, MODEL, filtering))
    if extra := [name for name in sorted(weights) if not name.startswith(tuple(prefix for _, prefix, _ in parts))]:
        raise _unfit(file, f"{extra[0]} is one weight too many")
    for network, prefix, needed in parts:
        own = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
        _fill(network, own, needed, where, file)
    of = settings.seed if seed is None else seed
    policy = Policy(model, actor, 1, of, settings.sample, first_agent=settings.agent)
    vectors = SeenVectors(tuple(settings.state_names), tuple(settings.vectors)) if settings.vectors else None
    return NumpyPolicy(policy, tuple(settings.observation_shape), vectors)


def _device(name: str) -> torch.device:
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device is {name!r}; it is cpu, cuda or another of torch's") from error


def read_policy_settings(path: Path) -> PolicySettings:
    """What a file of a policy says of itself. Raises UserError where it says nothing, or of another format."""
    text = read_metadata(path).get(METADATA)
    if text is None:
        raise _unfit(path, "it holds no policy")
    try:
        said = parse_json(text)
        if (version := said.pop("format")) == 1 and said["obs"] == "pixels":
            said["model"] = with_new_names({"rssm": said["model"]})[0]["rssm"]
        elif version not in (1, FORMAT):
            raise _unfit(path, f"its format is not {FORMAT}")
        settings = PolicySettings(**said)
        kinds = (
            ("obs", str),
            ("observation_shape", list),
            ("action_dim", int),
            ("sample", bool),
            ("seed", int),
            ("agent", int),
        )
        for name, kind in kinds:
            if not isinstance(said[name], kind):
                raise TypeError(f"{name} is {said[name]!r}")
        if min(settings.seed, settings.agent) < 0:
            raise ValueError(f"seed is {settings.seed} and agent {settings.agent}")
        if settings.obs not in FILTERS:
            raise ValueError(f"obs is {settings.obs!r}")
        if any(not 0 <= index < len(settings.state_names) for index in settings.vectors):
            raise ValueError(f"vectors is {settings.vectors} of {len(settings.state_names)} numbers")
        if not all(isinstance(name, str) for name in settings.state_names):
            raise TypeError(f"state_names is {settings.state_names}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _unfit(path, f"its settings can not be read ({error})") from error
    return settings


def _filters(name: str, parts: tuple[str, ...]) -> bool:
    """Whether the filter needs a weight of the world model."""
    return name.startswith(parts) and not name.startswith(PRIOR)


def _filter(settings: PolicySettings) -> WorldModel | FrameStack:
    """Stacked frames, or the world model of which the filter is a part.

    The rest of that, never used, is as small as can be.
    """
    if settings.encoder is not None:
        return FrameStack(_built(PixelEncoderConfig, settings.encoder).frames, _side(settings), settings.action_dim)
    if settings.images:
        config = _built(RecurrentConfig, settings.model)
        side = config.conv.image_size
        if settings.observation_shape != [side, side, 3]:
            raise ValueError(f"observation_shape is {settings.observation_shape}, image_size {side}")
        single = replace(config, dynamics=replace(config.dynamics, members=1))
        return RecurrentWorldModel(single, settings.action_dim, len(settings.vectors))
    ensemble = replace(_built(EnsembleConfig, settings.model), members=1, elites=1)
    (state_dim,) = settings.observation_shape
    return EnsembleWorldModel(ensemble, state_dim, settings.action_dim, "none")


def _side(settings: PolicySettings) -> int:
    """Height and width of the images. Raises ValueError where these are none."""
    side = settings.observation_shape[0]
    if settings.observation_shape != [side, side, 3] or not settings.images:
        raise ValueError(f"observation_shape is {settings.observation_shape}, and encoder is of square images")
    return side


def _actor(settings: PolicySettings) -> nn.Module:
    if settings.encoder is not None:
        encoder, actor = _built(PixelEncoderConfig, settings.encoder), _built(NetworkConfig, settings.actor)
        return EncodedActor.of(1, encoder, actor, _side(settings), settings.action_dim)
    sizes = settings.model["dynamics"] if settings.images else {}
    feature_dim = sizes["deterministic"] + sizes["stochastic"] if settings.images else settings.observation_shape[0]
    return Actor(1, _built(NetworkConfig, settings.actor), feature_dim, settings.action_dim)


def _built(kind: type[T], values: Mapping[str, Any]) -> T:
    """A config of plain values, as JSON has them: nested objects become its configs, lists its tuples."""
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for name, value in values.items():
        hint = hints[name]
        if is_dataclass(hint) and isinstance(hint, type):
            given[name] = _built(hint, value)
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    return kind(**given)


def _fill(network: nn.Module, weights: Weights, needed: set[str], device: torch.device, path: Path) -> None:
    """Give a network on the meta device the weights that it needs. Raises UserError for others."""
    if weights.keys() != needed:
        odd = min(weights.keys() ^ needed)
        raise _unfit(path, f"{odd} is {'one weight too many' if odd in weights else 'not there'}")
    for name, tensor in sorted(weights.items()):  # a file's order is not said
        due = network.get_parameter(name) if name in dict(network.named_parameters()) else network.get_buffer(name)
        if (tensor.shape, tensor.dtype) != (due.shape, due.dtype):
            raise _unfit(path, f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, not {tuple(due.shape)}")
        if not bool(tensor.isfinite().all()):
            raise _unfit(path, f"{name} is not finite")
    network.load_state_dict({name: _laid_out(tensor).to(device) for name, tensor in weights.items()}, False, True)
    network.requires_grad_(False)


def _laid_out(tensor: Tensor) -> Tensor:
    """Weights of convolutions channels-last, as they are trained, and as fast; on a CPU equal to the last bit."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _unfit(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is no policy that this version can read: {reason}; export it anew")
