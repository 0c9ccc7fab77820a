import dataclasses
import json
from pathlib import Path

import pytest
from toy_results import RETURNS, TASK, a_result

from combo_common.errors import UserError
from latent_combo.evaluation.result import RESULT, Result, finished
from latent_combo.evaluation.result_parts import WorldModelResult
from latent_combo.runtime.renamed import RESULT_FIELDS


def test_what_is_written_is_read_back_whole(tmp_path: Path) -> None:
    result = a_result()
    result.write(tmp_path)
    assert Result.read(tmp_path) == result
    assert finished(tmp_path) is None  # its last views are not drawn
    done = result.with_diagnostics({"q_below_return": 0.9}, {"agent": 12.0, "views": 3.0})
    done.write(tmp_path)
    assert Result.read(tmp_path) == finished(tmp_path) == done
    assert dataclasses.replace(done, diagnostics={}, seconds=result.seconds) == result


def test_no_episode_is_left_out_and_scores_need_no_arithmetic_of_readers(tmp_path: Path) -> None:
    a_result().write(tmp_path)
    said = json.loads((tmp_path / RESULT).read_text())
    assert [agent["returns"] for agent in said["agents"]] == RETURNS.tolist()
    assert said["episodes"] == 6 and said["return_mean"] == pytest.approx(RETURNS.mean())
    assert said["return_std"] == pytest.approx(RETURNS.std())
    assert said["dataset_normalised_score"] == pytest.approx(TASK.normalised_score(300.0))
    assert (said["random_normalised_score"], said["expert_normalised_score"]) == (0.0, 100.0)
    assert said["world_model"]["open_loop_psnr"] == {"1": 20.0, "5": 15.0}
    assert said["world_model"]["explained"] == 0.9 and said["world_model"]["real_vs_imagined_accuracy"] == 0.7


def test_a_file_of_an_older_version_is_read(tmp_path: Path) -> None:
    a_result().write(tmp_path)
    said = json.loads((tmp_path / RESULT).read_text())
    for name in ("dataset_normalised_score", "random_normalised_score", "expert_normalised_score", "diagnostics"):
        del said[name]
    (tmp_path / RESULT).write_text(json.dumps({**said, "something_new": 1}))
    assert Result.read(tmp_path) == a_result()


def test_a_file_with_names_of_before_is_read(tmp_path: Path) -> None:
    result = dataclasses.replace(
        a_result(), pretrained_world_model="runs/a", seconds={"agent": 2.0, "evaluations": 1.0}
    )
    result = result.with_diagnostics({"q_below_return": 0.9}, result.seconds)
    said = result.to_json()
    for old, new in RESULT_FIELDS.items():
        said[old] = said.pop(new)
    said["world_model"]["told_apart"] = said["world_model"].pop("real_vs_imagined_accuracy")
    said["seconds"]["looks"] = said["seconds"].pop("evaluations")
    (tmp_path / RESULT).write_text(json.dumps(said))
    assert Result.read(tmp_path) == finished(tmp_path) == result


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"return_mean": "much"}, "has 'much' for return_mean"),
        ({"agents": [{"label": "0"}]}, "lacks return_mean, normalised_score"),
        ({"agents": 3}, "has 3 for agents"),
        ({"agents": [4]}, "has 4 where AgentResult was expected"),
        ({"evaluations": {"steps": ["one"]}}, r"has \['one'\] for steps"),
        ({"world_model": {"kl": {"soon": 1.0}}}, "figures of world_model that are none"),
        ({"seconds": None}, "has None for seconds"),
    ],
)
def test_what_is_damaged_is_named_with_the_remedy(changed: dict[str, object], told: str, tmp_path: Path) -> None:
    a_result().write(tmp_path)
    said = json.loads((tmp_path / RESULT).read_text())
    (tmp_path / RESULT).write_text(json.dumps({**said, **changed}))
    with pytest.raises(UserError, match=f"{told}; score it anew: .*--resume {tmp_path}"):
        Result.read(tmp_path)


def test_a_folder_without_a_result_has_none(tmp_path: Path) -> None:
    assert Result.read(tmp_path) is None and finished(tmp_path) is None


def test_people_read_a_few_lines() -> None:
    lines = a_result().describe("runs/a b").splitlines()
    assert lines[0] == "return      405.0 ± 271.1 over 6 episodes (each agent: 463.3, 346.7)"
    assert "dataset     300.0 (at most 800.0)   random" in lines[1]
    assert lines[3] == "V-D4RL      40.5 (return / 10)"
    assert "5 steps 15.0 (copy 15.0, mean 15.0)" in lines[4]
    assert lines[4].startswith("prediction  PSNR in dB at 1 step 20.0 (")
    assert lines[-1].endswith("runs/a b/videos; tensorboard --logdir 'runs/a b'")


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        (
            {"open_loop_nrmse": {1: 0.125, 5: 0.5}, "copy_last_nrmse": {1: 0.25, 5: 1.0}, "kl": {}},
            "normalised RMSE at 1 step 0.125 (copy 0.250, mean nan), 5 steps 0.500 (copy 1.000, mean nan)",
        ),
        ({"open_loop_psnr": {5: 9.0}}, "PSNR in dB at 5 steps 9.0 (copy nan, mean nan)"),  # of states, in older runs
        ({}, "none"),
    ],
)
def test_predictions_of_any_version_are_told(figures: dict[str, dict[int, float]], told: str) -> None:
    result = dataclasses.replace(a_result(), world_model=WorldModelResult(open_loop=figures))
    assert f"\nprediction  {told}\n" in str(result)
