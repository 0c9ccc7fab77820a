from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml

from combo_common.errors import UserError
from combo_common.validation import choices
from data.reference import resolve
from envs.task import LOOKS, OBSERVATIONS
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.config.command_line import explain, parse, settings_files
from latent_combo.config.help import FIRST
from latent_combo.config.parser import may_be_null, parser, setting_types, settings_in
from latent_combo.config.saved import load_config, save_config
from latent_combo.config.schema import Config
from latent_combo.numerics.matmul import LIBRARIES


@pytest.mark.parametrize("obs", ["pixels", "state"])
@pytest.mark.parametrize("preset", ["quickstart", "small", "paper"])
def test_every_preset_parses_and_survives_a_round_trip(obs: str, preset: str, tmp_path: Path) -> None:
    config, resume = parse(["--obs", obs, "--preset", preset, "--out", str(tmp_path)])
    assert (config.obs, config.preset, resume) == (obs, preset, False)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path) == config


def test_the_preset_of_ones_own_task_is_quickstart_in_the_datas_units_near_the_data() -> None:
    own, usual = (parse(["--preset", preset])[0] for preset in ("own", "quickstart"))
    assert own.rssm.scale_rewards and own.agent.scale_beta
    assert (own.agent.anchor, own.agent.anchor_by) == (2.0, "spread")
    # the same weights on quickstart's data: rewards have a standard deviation of 2.40, returns of 69.5
    assert own.rssm.reward_weight / 2.401**2 == pytest.approx(usual.rssm.reward_weight, rel=0.01)
    assert own.agent.beta * 69.5 == pytest.approx(usual.agent.beta, rel=0.03)
    agent = replace(own.agent, scale_beta=False, beta=usual.agent.beta, anchor=0.0, anchor_by="size")
    rssm = replace(own.rssm, scale_rewards=False, reward_weight=usual.rssm.reward_weight)
    fit = replace(own.agent_fit, updates=usual.agent_fit.updates)
    assert replace(own, preset="quickstart", agent=agent, rssm=rssm, agent_fit=fit) == usual


def test_the_paper_preset_has_the_papers_sizes() -> None:
    config, _ = parse(["--preset", "paper"])
    assert config.rssm.conv.encoder_channels == (32, 64, 128, 256)
    assert config.rssm.dynamics.members == 7
    assert (config.rssm.dynamics.deterministic, config.rssm.dynamics.stochastic) == (256, 128)
    assert (
        config.world_model_fit.steps,
        config.world_model_fit.batch,
        config.world_model_fit.length,
        config.world_model_fit.learning_rate,
    ) == (25000, 64, 50, 6e-4)
    assert (config.agent.beta, config.agent.real_ratio, config.agent.rollout_actions, config.agent.penalty_states) == (
        0.5,
        0.5,
        "uniform",
        "mix",
    )
    assert (config.agent.batch, config.agent.num_sampled_actions, config.agent_fit.rollout_length) == (256, 10, 5)
    assert (config.agent.network.hidden, config.agent.network.layers) == (256, 3)
    assert (config.agent.critic_learning_rate, config.agent.actor_learning_rate) == (3e-4, 3e-4)
    assert config.agent.extraction == "value"
    schedule = config.agent_fit  # LOMPO's, to whose parameters B.2 refers
    assert (schedule.updates, schedule.rollout_every, schedule.rollout_batch_size * schedule.rollout_length) == (
        100_000,
        200,
        16_000,
    )


def test_the_gpu_preset_has_the_papers_sizes_on_another_schedule() -> None:
    config, paper = parse(["--preset", "gpu"])[0], parse(["--preset", "paper"])[0]
    assert config.rssm == paper.rssm
    assert (config.agent.num_agents, config.agent.beta, config.agent.rollout_actions, config.agent.batch) == (
        4,
        0.5,
        "policy",
        256,
    )
    assert config.agent.actor_network == paper.agent.actor_network
    assert (
        config.world_model_fit.batch * config.world_model_fit.length
        == paper.world_model_fit.batch * paper.world_model_fit.length
    )


def test_the_papers_settings_of_images_are_those_of_the_split_and_the_task() -> None:
    paper = ["--preset", "paper", "--dataset"]
    for split, beta in (("medium-replay", 0.5), ("medium", 1.0), ("medium-expert", 1.0), ("expert", 1.0)):
        agent = parse([*paper, f"walker-walk-{split}"])[0].agent
        assert (agent.beta, agent.rollout_actions, agent.real_ratio, agent.penalty_states) == (
            beta,
            "uniform",
            0.5,
            "mix",
        )
    for task in ("sawyer-door", "sawyer-door-varied"):
        door = parse([*paper, f"{task}-expert"])[0]
        conv = door.rssm.conv
        assert (door.task, conv.image_size, conv.encoder_channels[-2:]) == (task, 128, (256, 256))
        assert (conv.decoder_channels, conv.decoder_kernels) == ((128, 64, 32, 32), (5, 5, 5, 6, 6))
        assert (door.agent.beta, door.agent.rollout_actions, door.agent_fit.rollout_length) == (1.0, "policy", 5)
        assert parse(["--preset", "small", "--dataset", f"{task}-expert"])[0].rssm.conv.image_size == 32


PAPER_SETTINGS = {
    # dataset: beta, f, rho, mu, critics' and policy's learning rate, h (B.2)
    "halfcheetah-random-v2": (0.5, 0.5, "mix", "policy", 3e-4, 1e-4, 5),
    "halfcheetah-medium-v2": (0.5, 0.5, "mix", "policy", 3e-4, 1e-4, 5),
    "halfcheetah-medium-replay-v0": (0.5, 0.5, "mix", "policy", 3e-4, 1e-4, 5),
    "halfcheetah-medium-expert-v2": (5.0, 0.5, "mix", "policy", 3e-4, 1e-4, 5),
    "hopper-random-v2": (0.5, 0.5, "model", "uniform", 3e-4, 1e-4, 5),
    "hopper-medium-v2": (5.0, 0.5, "model", "uniform", 3e-4, 1e-4, 5),
    "hopper-medium-replay-v2": (0.5, 0.5, "model", "uniform", 3e-4, 1e-4, 5),
    "hopper-medium-expert-v2": (0.5, 0.5, "model", "uniform", 3e-4, 1e-4, 5),
    "walker2d-random-v2": (0.5, 0.5, "mix", "policy", 1e-4, 1e-5, 1),
    "walker2d-medium-v2": (5.0, 0.8, "mix", "policy", 1e-4, 1e-5, 1),
    "walker2d-medium-replay-v2": (0.5, 0.5, "mix", "policy", 1e-4, 1e-5, 1),
    "walker2d-medium-expert-v0": (5.0, 0.8, "mix", "policy", 1e-4, 1e-5, 1),
    # what the paper has no settings for follows the nearest of the robot's datasets
    "walker2d-expert-v2": (5.0, 0.8, "mix", "policy", 1e-4, 1e-5, 1),
    "hopper-mini": (0.5, 0.5, "model", "uniform", 3e-4, 1e-4, 5),
    "halfcheetah-jump": (1.0, 0.5, "mix", "policy", 3e-4, 1e-4, 5),
    "ant-angle": (1.0, 0.5, "mix", "uniform", 3e-4, 1e-4, 25),
}


@pytest.mark.parametrize("dataset", PAPER_SETTINGS)
def test_a_dataset_of_states_has_the_papers_settings_and_sizes(dataset: str) -> None:
    config, _ = parse(["--obs", "state", "--preset", "paper", "--dataset", dataset])
    agent = config.agent
    assert (
        *(
            agent.beta,
            agent.real_ratio,
            agent.penalty_states,
            agent.rollout_actions,
            agent.critic_learning_rate,
            agent.actor_learning_rate,
        ),
        config.agent_fit.rollout_length,
    ) == PAPER_SETTINGS[dataset]
    assert dataset.startswith(config.task)
    assert (agent.batch, agent.num_sampled_actions, agent.network.hidden, agent.network.layers) == (256, 10, 256, 3)
    assert (agent.actor_network.hidden, agent.actor_network.layers, agent.extraction) == (256, 3, "value")
    # MOPO's soft actor-critic, to which B.2 refers
    assert (agent.target_entropy, agent.entropy_in_target, agent.initial_alpha) == (-3.0, True, 1.0)
    assert agent.alpha_learning_rate == agent.actor_learning_rate
    model = config.ensemble
    assert (model.members, model.elites, model.hidden, len(model.weight_decay)) == (7, 5, 200, 5)
    small, _ = parse(["--obs", "state", "--preset", "small", "--dataset", dataset])
    assert (
        small.agent.beta,
        small.agent.penalty_states,
        small.agent.rollout_actions,
        small.agent_fit.rollout_length,
    ) == (
        *(agent.beta, agent.penalty_states, agent.rollout_actions),
        config.agent_fit.rollout_length,
    )


def test_a_short_name_a_path_and_a_minari_id_have_the_papers_settings_too() -> None:
    for given in (["medium-v2", "--task", "walker2d"], ["mujoco/walker2d/medium-v0"], ["/x/walker2d_medium-v2.hdf5"]):
        for preset in ("paper", "small"):  # the quickstart's are its own recording's
            agent = parse(["--obs", "state", "--preset", preset, "--dataset", *given])[0].agent
            assert (agent.beta, agent.real_ratio, agent.penalty_states, agent.rollout_actions) == (
                5.0,
                0.8,
                "mix",
                "policy",
            )
    small = ["--obs", "state", "--preset", "small"]
    elsewhere = parse([*small, "--dataset", "/expert-stuff/hopper.hdf5"])[0]
    assert elsewhere.agent.beta == 0.5  # a folder's name says nothing
    jump = parse([*small, "--task", "halfcheetah", "--dataset", "halfcheetah-jump"])[0]
    assert jump.agent.beta == 0.5  # the task counts


def test_a_task_is_read_from_the_dataset_and_overruled_by_name() -> None:
    assert parse(["--obs", "state"])[0].task == "hopper"
    assert parse(["--obs", "state", "--dataset", "some/walker2d_medium-v2.hdf5"])[0].task == "walker2d"
    assert parse(["--obs", "state", "--dataset", "mine.hdf5", "--task", "ant"])[0].task == "ant"
    for name, algorithm in ALGORITHMS.items():  # of which some overrule what the paper sets for COMBO
        if algorithm.obs != "pixels":
            parse(["--obs", "state", "--dataset", "hopper-medium-v2", "--algorithm", name])


def test_later_settings_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"agent": {"beta": 7.0, "real_ratio": 0.6}, "seed": 3}))
    config, _ = parse(["--preset", "small", "--config", str(file), "--agent.real_ratio", "0.7"])
    assert (config.agent.beta, config.agent.real_ratio, config.seed, config.preset) == (7.0, 0.7, 3, "small")
    assert config.agent.network.hidden == 128  # the preset's, untouched


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_is_a_setting_of_the_agent(algorithm: str) -> None:
    agent = parse(["--obs", ALGORITHMS[algorithm].obs or "pixels", "--algorithm", algorithm])[0].agent
    near_behaviour = ("bear", "brac-p", "brac-v", "td3-bc", "rebrac")
    model_free = algorithm in ("cql", "sac", "bc", *near_behaviour, "cql-pixels", "drq-bc")
    conservative = algorithm in ("combo", "cql", "cql-mbpo", "cql-pixels")
    assert (agent.real_ratio == 1.0) == model_free
    assert (agent.beta > 0.0) == conservative
    assert not conservative or (agent.penalty_states == "mix") == (algorithm == "combo")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--agent.betta", "1"], "betta"),
        (["--agent.beta", "much"], "beta"),
        (["--agent.real_ratio", "1", "--agent.penalty_states", "model"], "penalty_states"),
        (["--agent.real_ratio", "0"], "real_ratio is"),
        (["--agent.real_ratio", "0.001"], "leaves no data in a batch"),
        (["--agent.real_ratio", "0.999", "--agent.penalty_states", "model"], "leaves no model data"),
        (["--agent.rollout_actions", "greedy"], "greedy"),
        (["--preset", "huge"], "huge"),
        (["--algorithm", "dreams"], "dreams"),
        (["--obs", "sound"], "obs"),
        (["--obs", "state", "--preset", "huge"], "for state there are paper, quickstart, small"),
        (["--task", "hoper"], "hopper"),
        (["--ensemble.elites", "9"], "elites is 9"),
        (["--score.processes", "0"], "processes is 0"),
        (["--agent_fit.updates", "20", "--agent_fit.warm_up", "20"], "warm_up is 20 of 20 updates"),
        (["--world_model_fit.patience", "-1"], "patience is -1"),
        (["--validation_fraction", "1.5"], "validation_fraction"),
        (["--world_model_fit.episode_start_fraction", "2"], "episode_start_fraction is 2"),
        (["--world_model_fit.random_shift", "-1"], "random_shift is -1"),
        (["--world_model_fit.steps", "0"], "steps is 0"),
        (["--encode.num_encodings", "0"], "num_encodings is 0"),
        (["--encode.random_shift", "-1"], "random_shift is -1"),
        (
            ["--encode.sample", "false", "--encode.random_shift", "0", "--encode.num_encodings", "3"],
            "all of them are the same",
        ),
        (["--agent.trajectory_temperature", "0"], "trajectory_temperature is 0"),
        (["--agent_fit.rollout_every", "0"], "rollout_every is 0"),
        (["--agent.beta", "-1"], "beta is -1"),
        (["--agent.gamma", "1.5"], "gamma is 1.5"),
        (["--agent.network.layers", "0"], "layers is 0"),
        (["--rssm.dynamics.members", "0"], "members is 0"),
        (["--rssm.conv.encoder_channels", "[0]"], "encoder_channels"),
        (["--score.episodes", "-1"], "episodes is -1"),
        (["--score.seed", "1995"], "further apart"),
        (["--seed", "-1"], "seed is -1"),
        (["--log_every", "0"], "log_every is 0"),
        (["--out", ""], "out is empty"),
        (["--algorithm", "cql", "--agent.real_ratio", "0.5"], "algorithm is cql"),
        (["--algorithm", "mbpo", "--agent.beta", "1"], "algorithm is mbpo"),
        (["--pre", "small"], "no setting pre"),
        (["--algo", "sac"], "no setting algo"),
        (["--res", "runs/x"], "no setting res"),
        (["--agent.btea", "1"], r"no setting agent.btea; did you mean agent.beta\?"),
        (["--beta", "1"], r"no setting beta; did you mean agent.beta\?"),
        (["--quiet"], "no setting quiet \\("),
        (["--rssm.conv.image_size", "15"], "image_size"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--resume", "runs/x", "--seed", "1"], "stands alone"),
        (["--resume", "nowhere"], "nowhere"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(arguments: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named) as error:
        parse(arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["--preset", "smal"],
            "unknown preset 'smal'; for pixels there are gpu, own, paper, quickstart, small; did you mean small?",
        ),
        (["--algorithm", "comobo"], "unknown algorithm 'comobo'; it is one of combo, cql-mbpo"),
        (["--algorithm", "comobo"], "; did you mean combo?"),
        (
            ["--algorithm", "COMBO"],
            f"unknown algorithm 'COMBO'; it is one of {', '.join(ALGORITHMS)}; did you mean combo?",
        ),
        (["--algorithm", "comb"], "; did you mean combo?"),
        (["--obs", "PIXELS"], "; did you mean pixels?"),
        (["--device", "CPU"], "device is 'CPU'; it is one of auto, cpu, cuda; did you mean cpu?"),
        (["--task", "HOPPER"], "unknown task 'HOPPER'; known tasks like it: hopper, "),
        (["--obs", "pixel"], "obs is 'pixel'; it is one of state, pixels; did you mean pixels?"),
        (["--look", "fsat"], "look is 'fsat'; it is one of fast, full; did you mean fast?"),
        (
            ["--agent.rollout_actions=[policy, unifrm]"],
            "agent.rollout_actions is 'unifrm'; it is one of uniform, policy; did you mean uniform?",
        ),
        (["--mapped", "7"], "mapped is 7; it is true or false or null ("),
        (["--world_model_fit.steps", "1.5"], "fit.steps is 1.5; it is a whole number ("),
        (
            ["--rssm.conv.encoder_channels=[8, 2.5]"],
            "encoder_channels is given 2.5; it is a list, of which each entry is a whole number (",
        ),
        (
            ["--rssm.conv.encoder_channels=8"],
            "encoder_channels is given 8; it is a list, of which each entry is a whole number (",
        ),
        (["--agent-fit.updats", "3"], "there is no setting agent_fit.updats; did you mean agent_fit.updates?"),
    ],
)
def test_a_typo_is_answered_with_what_was_perhaps_meant(arguments: list[str], named: str) -> None:
    with pytest.raises(UserError) as error:
        parse(arguments)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_every_setting_has_a_text() -> None:
    texts = {action.dest: action.help for action in parser()._actions}
    settings = [name for name, kind in setting_types().items() if kind is not None]
    assert len(settings) > 90 and not [name for name in settings if not texts[name]]


def test_help_shows_texts_choices_and_the_values_of_the_other_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--preset", "small", "--help", "--seed", "7"])
    words = " ".join(capsys.readouterr().out.split())
    assert "--obs {pixels,state} What the policy sees: images (pixels) or vectors (state). (default: pixels)" in words
    assert "--preset {gpu,own,paper,quickstart,small}" in words
    assert "--world-model RUN_OR_FILE A fitted world model" in words
    assert "--agent.rollout-actions {uniform,policy} or [{uniform,policy}, ...]" in words and "(default: 7)" in words
    used_first, rest = words.split("Files and information:")
    assert all(f"--{name.replace('_', '-')} " in used_first for name in FIRST)
    assert used_first.rstrip().endswith(f"(default: {parse(['--preset', 'small'])[0].agent_fit.updates})")
    assert not [name for name in setting_types() if setting_types()[name] and f"--{name}" in rest and "_" in name]
    with pytest.raises(UserError, match="there is no setting presett; did you mean preset?"):
        explain(["--presett", "small"])
    with pytest.raises(UserError, match="unknown preset 'smal'"):  # after the help of the quickstart
        parse(["--preset", "smal", "--help"])
    assert "--obs {pixels" in capsys.readouterr().out


def test_choices_are_those_of_the_parts_that_use_them() -> None:
    types = setting_types()
    assert set(choices(types["obs"])) == set(OBSERVATIONS)
    assert choices(types["look"]) == LOOKS
    assert choices(types["products"]) == ("auto", *LIBRARIES)
    with pytest.raises(ValueError, match="look is 'wild'; it is one of fast, full"):
        Config(look="wild")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="algorithm is 'SAC'; it is one of .*; did you mean sac"):
        Config(algorithm="SAC")


def test_settings_may_be_spelt_with_dashes(tmp_path: Path) -> None:
    with_dashes = ["--data-dir", str(tmp_path / "a-b"), "--agent-fit.warm-up=30", "--out", "x-y"]
    config, _ = parse(with_dashes)
    assert (config.data_dir, config.agent_fit.warm_up, config.out) == (str(tmp_path / "a-b"), 30, "x-y")


def test_the_last_preset_counts_and_a_named_algorithm_wins_over_a_file(tmp_path: Path) -> None:
    assert parse(["--preset", "small", "--preset=paper"])[0] == parse(["--preset", "paper"])[0]
    file = tmp_path / "cql.yaml"
    save_config(parse(["--algorithm", "cql"])[0], file)
    assert parse(["--config", str(file)])[0].algorithm == "cql"
    sac = parse(["--algorithm", "sac", "--config", str(file)])[0]
    assert (sac.algorithm, sac.agent.beta, sac.agent.extraction) == ("sac", 0.0, "value")


@pytest.mark.parametrize("content", ["a: [", "just words", "\x00\x01"])
def test_a_file_that_holds_no_settings_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    for arguments in (["--config", str(file)], ["--resume", str(tmp_path)]):
        with pytest.raises(UserError, match="config.yaml"):
            parse(arguments)


def test_a_config_compares_by_value() -> None:
    assert Config() == Config()


def test_the_files_that_settings_come_from_are_told() -> None:
    files = settings_files(["--obs", "state", "--preset", "small", "--dataset", "hopper-medium-replay-v2"])
    assert [f"{path.parent.name}/{path.name}" for path in files] == [
        "paper/hopper-medium-replay.yaml",
        "state/small.yaml",
    ]
    assert [path.stem for path in settings_files([])] == ["quickstart"]
    walker = settings_files(["--dataset", "walker-walk-mini"])
    assert [path.stem for path in walker] == ["walker-walk-medium-replay", "quickstart"]


def test_a_task_needs_data_of_it_and_data_a_task(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hopper-mini, which is of hopper; name a --dataset of halfcheetah"):
        parse(["--obs", "state", "--task", "halfcheetah"])
    some = tmp_path / "some.hdf5"
    some.touch()
    with pytest.raises(UserError, match="some.hdf5 cannot be read as HDF5"):
        parse(["--obs", "state", "--dataset", str(some)])
    h5py.File(some, "w").close()
    with pytest.raises(UserError, match="some.hdf5 does not say which task it is of; name it with --task"):
        parse(["--obs", "state", "--dataset", str(some)])
    assert parse(["--obs", "state", "--dataset", str(some), "--task", "ant"])[0].task == "ant"
    with pytest.raises(UserError, match="or collect it: python -m data.collect walker2d medium .*walker2d-medium.hdf5"):
        resolve("walker2d-medium", None, tmp_path).open()


def test_other_programs_images_are_taken_as_the_full_look_unless_it_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "walker_walk" / "medium" / "64px"
    folder.mkdir(parents=True)
    (folder / "20220101T000000-a-5.npz").touch()
    config, _ = parse(["--dataset", str(folder)])
    assert (config.look, config.task) == ("full", "walker-walk")
    assert parse(["--dataset", str(folder), "--look", "fast"])[0].look == "fast"
    assert parse([])[0].look == "fast"


def test_lists_on_the_command_line_and_in_a_file_are_agents_that_differ(tmp_path: Path) -> None:
    given = ["--agent.beta", "[0.5, 5]", "--agent.rollout_actions=[policy, uniform]", "--agent.anchor", "[0, 2.5]"]
    agent = parse(given)[0].agent
    assert (agent.num_agents, agent.beta, agent.rollout_actions, agent.anchor) == (
        2,
        [0.5, 5.0],
        ["policy", "uniform"],
        [0.0, 2.5],
    )
    assert agent.labels() == [
        "0, beta 0.5, rollout_actions policy, anchor 0.0",
        "1, beta 5.0, rollout_actions uniform, anchor 2.5",
    ]
    save_config(parse(given)[0], tmp_path / "config.yaml")
    assert load_config(tmp_path).agent == agent
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"agent": {"critic_learning_rate": [1e-3, 1e-4, 1e-5]}}))
    three = parse(["--config", str(file)])[0].agent
    assert [own.critic_learning_rate for own in three.members()] == [1e-3, 1e-4, 1e-5]
    assert three.labels()[2] == "2, critic_learning_rate 1e-05"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            ["--agent.beta=[0.5, 1]", "--agent.rollout_actions=[policy]"],
            "agent.beta lists 2 agents, but agent.rollout_actions lists 1; make them alike",
        ),
        (
            ["--preset", "small", "--agent.beta=[0.5, 1]"],
            "agent.num_agents is 3, but beta lists 2 agents; set agent.num_agents to 2",
        ),
        (["--agent.gamma=[0.9, 0.99]"], "agent.gamma is [0.9, 0.99], but agents of a stack can not differ in it"),
        (["--agent.beta", "0.5,1"], "agent.beta is 0.5,1; it is one value, or a list with one for each agent"),
        (["--agent.beta=[]"], "beta is an empty list"),
        (["--agent.rollout_actions=[policy, policies]"], "rollout_actions is 'policies'"),
        (
            ["--algorithm", "bc", "--agent.anchor", "1"],
            'anchor is a part of eq. 3, which extraction "imitation" does not follow',
        ),
        (
            ["--algorithm", "cql", "--agent.penalty_states=[dataset, mix]"],
            "algorithm is cql, which has agent.penalty_states dataset",
        ),
        (["--obs", "state", "--preset", "gpu"], "unknown preset 'gpu'; for state there are paper, quickstart, small"),
    ],
)
def test_lists_that_do_not_fit_are_refused_with_a_line(given: list[str], named: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(given)
    assert named in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("given", ["--data-dir=", "--data-dir null", "data_dir:", "data_dir: ''"])
def test_a_data_folder_left_empty_is_the_usual_one(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENT_COMBO_DATA", str(tmp_path / "mine"))
    folder = tmp_path / "mine" / "hopper-medium-replay-own"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"task": "hopper", "split": "medium-replay"}')
    arguments = ["--obs", "state", "--dataset", folder.name]
    if given.startswith("--"):
        arguments = [*given.split(), *arguments]
    else:
        (tmp_path / "mine.yaml").write_text(f"{given}\n")
        arguments += ["--config", str(tmp_path / "mine.yaml")]
    config, _ = parse(arguments)
    assert (config.task, config.agent.penalty_states, config.data_folder) == ("hopper", "model", tmp_path / "mine")
    paper = [path.name for path in settings_files(arguments)]
    assert "hopper-medium-replay.yaml" in paper


def test_whatever_can_not_be_null_is_not_said_where_a_file_leaves_it_empty(tmp_path: Path) -> None:
    groups = {name.rpartition(".")[0] for name in setting_types() if "." in name}
    names = [name for name in setting_types() if "." in name and name not in groups and not may_be_null(name)]
    assert len(names) > 60 and {"agent.beta", "score.episodes", "rssm.conv.image_size"} <= set(names)
    file, base = tmp_path / "mine.yaml", ["--obs", "state", "--dataset", "hopper-mini"]
    plain = parse(base)[0]
    assert plain.agent.penalty_states == "model"  # which is the paper's for the dataset, and not the default
    whole: dict[str, Any] = {}
    for name in (*names, *groups):
        *above, last = name.split(".")
        alone: dict[str, Any] = {}
        for said in (alone, whole) if name in names else (alone,):
            for word in above:
                said = said.setdefault(word, {})
            said[last] = None
        file.write_text(yaml.safe_dump(alone))
        left = settings_in(file)
        for word in above:
            left = left[word]
        assert left == {}, name
    file.write_text(yaml.safe_dump(whole))
    assert parse([*base, f"--config={file}"])[0] == plain
    top = [name for name in setting_types() if "." not in name and not may_be_null(name)]
    assert {"seed", "task", "dataset", "preset", "obs", "agent"} <= set(top)
    usual = parse([])[0]
    for lines in ([f"{name}:" for name in top], ["agent:"], ["task:"], ["preset:"]):
        file.write_text("\n".join(lines))
        assert parse([f"--config={file}"])[0] == usual


def test_a_later_file_can_take_a_setting_back_to_null(tmp_path: Path) -> None:
    for number, line in enumerate(["split_seed: 3", "split_seed:"]):
        (tmp_path / f"{number}.yaml").write_text(f"{line}\n")
    files = [f"--config={tmp_path / f'{number}.yaml'}" for number in (0, 1)]
    assert parse(files[:1])[0].split_seed == 3
    assert parse(files)[0].split_seed is None
