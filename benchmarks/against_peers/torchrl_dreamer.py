"""TorchRL 0.14.1, `DreamerModelLoss`.

8 sequences of 25 images of 64 pixels, 6 actions; forward, backward, the gradient clipped at 100, an Adam step.

- Equal: the encoder (32, 64, 128, 256 channels, kernel 4, stride 2), the decoder (1024 units; 128, 64, 32, 3 channels,
  kernels 5, 5, 6, 6), the GRU of 256, the Gaussian latent of 128, its standard deviations 0.1 or more, one hidden layer
  of 256 (ELU) for the GRU's input, the prior and the posterior, two for the reward; summed squared errors, the KL
  without free nats; 5,762,628 weights, ours with members = 1.
- Not equal: TorchRL evaluates the prior inside of the recurrence, and draws a sample of it that nothing uses. It has a
  ReLU after the decoder's first layer and no 1/2 in its squared errors. Its images are ready as floats in [0, 1], as
  its script stores them; ours are bytes that the step converts. TorchRL's script takes bfloat16 autocast by default;
  here it does not. "ours, 7 priors" is the paper's ensemble.
"""

from collections.abc import Iterator
from importlib.metadata import version

import torch

from benchmarks.against_peers.contest import Contest, Peer, Runner, adam
from data.locate import default_data_dir
from latent_combo.numerics.choices import Choices
from latent_combo.world_model.base import Segment
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import ConvConfig, FitConfig, RecurrentConfig, RSSMConfig
from latent_combo.world_model.tune import with_fastest_ways

ACTIONS = 6
SEQUENCES, LENGTH, SIZE = 8, 25, 64
HIDDEN, GRU, LATENT, EMBEDDING = 256, 256, 128, 1024
LEARNING_RATE, CLIP = 6e-4, 100.0
FOREVER = 10**9
"""Steps of a schedule that a benchmark does not reach the end of."""


def torchrl_contests(fused: bool) -> Iterator[Contest]:
    """A step of the world model, with one prior and with the paper's seven."""
    yield Contest(
        f"world model, {SEQUENCES} sequences of {LENGTH} images",
        torchrl_dreamer(fused),
        {"ours": our_world_model(1), "ours, 7 priors": our_world_model(7)},
        steps=2,
    )


def our_world_model(members: int) -> Runner:
    """Optimiser steps on a segment that is ready."""
    torch.manual_seed(0)
    sizes = RSSMConfig(deterministic=GRU, stochastic=LATENT, hidden=HIDDEN, members=members)
    device = torch.device("cpu")
    choices = Choices(default_data_dir(), device)
    conv = with_fastest_ways(ConvConfig(image_size=SIZE), device, SEQUENCES * LENGTH, choices)
    model = RecurrentWorldModel(RecurrentConfig(conv=conv, dynamics=sizes), ACTIONS)
    draws = torch.Generator().manual_seed(0)
    image = torch.randint(256, (SEQUENCES, LENGTH, SIZE, SIZE, 3), dtype=torch.uint8, generator=draws)
    action = torch.rand(SEQUENCES, LENGTH, ACTIONS, generator=draws) * 2.0 - 1.0
    never = torch.zeros(SEQUENCES, LENGTH, dtype=torch.bool)
    segment = Segment(image, action, torch.rand(SEQUENCES, LENGTH, generator=draws), never, never)
    config = FitConfig(
        steps=FOREVER, batch=SEQUENCES, length=LENGTH, learning_rate=LEARNING_RATE, gradient_clip=CLIP, weight_decay=0.0
    )
    return Runner(Fit(model, config, lambda: segment, draws).take_step)


def torchrl_dreamer(fused: bool) -> Runner:
    """Optimiser steps of TorchRL's parts, put together as `DreamerModelLoss` asks for, on a batch that is ready."""
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.data import Bounded
    from torchrl.modules import (
        MLP,
        ObsDecoder,
        ObsEncoder,
        RSSMPosterior,
        RSSMPrior,
        RSSMRollout,
        WorldModelWrapper,
    )
    from torchrl.objectives.dreamer import DreamerModelLoss

    torch.manual_seed(0)
    action_spec = Bounded(-1.0, 1.0, (ACTIONS,))
    prior = RSSMPrior(action_spec, hidden_dim=HIDDEN, rnn_hidden_dim=GRU, state_dim=LATENT, action_dim=ACTIONS)
    posterior = RSSMPosterior(hidden_dim=HIDDEN, state_dim=LATENT, rnn_hidden_dim=GRU, obs_embed_dim=EMBEDDING)
    seen = [("next", "state"), ("next", "belief")]
    recurrence = RSSMRollout(
        TensorDictModule(
            prior,
            in_keys=["state", "belief", "action"],
            out_keys=[("next", "prior_mean"), ("next", "prior_std"), "_", ("next", "belief")],
        ),
        TensorDictModule(
            posterior,
            in_keys=[("next", "belief"), ("next", "embedding")],
            out_keys=[("next", "posterior_mean"), ("next", "posterior_std"), ("next", "state")],
        ),
    )
    transition = TensorDictSequential(
        TensorDictModule(ObsEncoder(in_channels=3), in_keys=[("next", "pixels")], out_keys=[("next", "embedding")]),
        recurrence,
        TensorDictModule(ObsDecoder(latent_dim=GRU + LATENT), in_keys=seen, out_keys=[("next", "reco_pixels")]),
    )
    head = MLP(GRU + LATENT, 1, depth=2, num_cells=HIDDEN, activation_class=torch.nn.ELU)
    model = WorldModelWrapper(transition, TensorDictModule(head, in_keys=seen, out_keys=[("next", "reward")]))
    objective = DreamerModelLoss(model, free_nats=0)
    optimiser = adam(model.parameters(), LEARNING_RATE, fused)
    shape = (SEQUENCES, LENGTH)
    batch = TensorDict(
        {
            "state": torch.zeros(*shape, LATENT),
            "belief": torch.zeros(*shape, GRU),
            "action": torch.rand(*shape, ACTIONS) * 2.0 - 1.0,
            "next": {"pixels": torch.rand(*shape, 3, SIZE, SIZE), "reward": torch.rand(*shape, 1)},
        },
        batch_size=shape,
    )

    def step() -> None:
        losses, _ = objective(batch)
        optimiser.zero_grad()
        (losses["loss_model_kl"] + losses["loss_model_reco"] + losses["loss_model_reward"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()

    return Runner(step)


PEER = Peer("torchrl.objectives.dreamer", "pip install torchrl==0.14.1", lambda: version("torchrl"), torchrl_contests)
