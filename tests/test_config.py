from pathlib import Path

import pytest
import yaml

from latent_combo.config import ALGORITHMS, PRESETS, Config, load_config, parse, save_config
from latent_combo.run.errors import UserError


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_parses_and_survives_a_round_trip(preset: str, tmp_path: Path) -> None:
    config, resume = parse(["--preset", preset, "--out", str(tmp_path)])
    assert (config.preset, resume) == (preset, False)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path) == config


def test_the_paper_preset_has_the_papers_sizes() -> None:
    config, _ = parse(["--preset", "paper"])
    assert config.world_model.conv.encoder_channels == (32, 64, 128, 256)
    assert config.world_model.rssm.members == 7
    assert (config.world_model.rssm.deterministic, config.world_model.rssm.stochastic) == (256, 128)
    assert (config.fit.steps, config.fit.batch, config.fit.length, config.fit.learning_rate) == (25000, 64, 50, 6e-4)
    assert (config.agent.beta, config.agent.f, config.agent.mu, config.agent.rho) == (0.5, 0.5, "uniform", "mix")
    assert (config.agent.batch, config.agent.actions, config.agent_fit.horizon) == (256, 10, 5)
    assert (config.agent.network.hidden, config.agent.network.layers) == (256, 3)
    assert (config.agent.critic_learning_rate, config.agent.actor_learning_rate) == (3e-4, 3e-4)
    assert config.agent.extraction == "value"


def test_later_settings_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"agent": {"beta": 7.0, "f": 0.6}, "seed": 3}))
    config, _ = parse(["--preset", "small", "--config", str(file), "--agent.f", "0.7"])
    assert (config.agent.beta, config.agent.f, config.seed, config.preset) == (7.0, 0.7, 3, "small")
    assert config.agent.network.hidden == 128  # the preset's, untouched


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_is_a_setting_of_the_agent(algorithm: str) -> None:
    agent = parse(["--algorithm", algorithm])[0].agent
    model_free = algorithm in ("cql", "sac")
    conservative = algorithm in ("combo", "cql", "cql-mbpo")
    assert (agent.f == 1.0) == model_free
    assert (agent.beta > 0.0) == conservative
    assert algorithm == "mbpo" or (agent.rho == "mix") == (algorithm == "combo")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--agent.betta", "1"], "betta"),
        (["--agent.beta", "much"], "beta"),
        (["--agent.f", "1", "--agent.rho", "model"], "rho"),
        (["--agent.f", "0"], "f is"),
        (["--agent.mu", "greedy"], "greedy"),
        (["--preset", "huge"], "huge"),
        (["--algorithm", "dreamer"], "dreamer"),
        (["--obs", "sound"], "obs"),
        (["--held_out", "1.5"], "held_out"),
        (["--world_model.conv.image_size", "64"], "image_size"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--resume", "runs/x", "--seed", "1"], "stands alone"),
        (["--resume", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(arguments: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named) as error:
        parse(arguments)
    assert "\n" not in str(error.value)


def test_a_config_compares_by_value() -> None:
    assert Config() == Config()
