"""Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP in every phase of a run: it ends within seconds, and goes on to the same log."""

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import toy_pendulum
from signalled import POINTS, patched
from test_checkpoint import same
from test_run_killed import balance, logged, rows, save_at_once, saved

from combo_common.errors import StoppedError
from combo_common.interrupt import SIGNALS
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.run_folder import AGENT, WORLD_MODEL
from latent_combo.train import train

LONGEST = 10.0
"""Seconds from the signal to the end."""
STATES = {
    "data": ("latent_combo.pipeline.prepare", "split_episodes", 0, 60),
    "late in the world model": ("latent_combo.world_model.fit", "Fit.take_step", 5, 0),
    "early in the world model": ("latent_combo.world_model.fit", "Fit.take_step", 2, 0),
    "updates": ("latent_combo.agent.fit", "AgentFit.take_step", 1, 0),
    "values": ("latent_combo.pipeline.measure", "show_values", 0, 60),
    "a later evaluation": ("latent_combo.evaluation.evaluator", "Evaluator.interim", 1, 60),
    "pages": ("latent_combo.pipeline.measure", "draw_curves", 0, 60),
    **{name: POINTS[name] for name in ("views during", "saving", "measuring", "encoding", "evaluation")},
    "views of agents": ("latent_combo.diagnostics.agent", "sample_values", 0, 60),
    **{name: POINTS[name] for name in ("score", "film")},
}
"""Points of a run on states."""
ORDER = (
    *("data", "early in the world model", "views during", "saving", "late in the world model", "measuring", "encoding"),
    *(
        "values",
        "evaluation",
        "a later evaluation",
        "updates",
        "evaluation",
        "score",
        "views of agents",
        "film",
        "pages",
    ),
)


@pytest.fixture
def saved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training waits for each checkpoint, so that a signal of the thread that writes it comes at a known step."""
    save_at_once(monkeypatch)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn is noted in TensorBoard alone, at once."""

    def only_log(gallery: MediaWriter, tag: str, step: int, *given: object, **named: object) -> None:
        gallery.board.image(tag, b"", (1, 1), step)

    monkeypatch.setattr(MediaWriter, "picture", only_log)
    monkeypatch.setattr(MediaWriter, "clip", only_log)
    monkeypatch.setattr("latent_combo.diagnostics.agent.film", lambda *given: (np.zeros((1, 16, 16, 3), np.uint8), 1))
    monkeypatch.setattr("latent_combo.pipeline.measure.draw_curves", lambda run: [np.zeros((1, 1, 3), np.uint8)])


def test_a_run_that_is_stopped_everywhere_has_the_log_of_one_in_one_go(
    tmp_path: Path, noted: None, saved_at_once: None, hears_hangups: None
) -> None:
    with toy_pendulum.registered():
        train(balance(tmp_path, "whole"))
        config, out = balance(tmp_path, "parts"), tmp_path / "parts"
        for place, name in enumerate(ORDER):
            number, sent = SIGNALS[place % len(SIGNALS)], list[float]()

            def send(number: signal.Signals = number, sent: list[float] = sent) -> None:
                sent.append(time.monotonic())
                os.kill(os.getpid(), number)

            with patched(STATES[name], send), pytest.raises(StoppedError) as stopped:
                train(config, resume=(out / "config.yaml").exists())
            assert len(sent) == 1 and time.monotonic() - sent[0] < LONGEST, name
            assert ("--resume" in str(stopped.value)) == (name != "data"), name
            assert not list(out.rglob("*.tmp*")), name
        assert (out / "result.json").exists() and not (out / "report.html").exists()
        shutil.copytree(out, tmp_path / "once")
        train(config, resume=True)
    assert (out / "report.html").exists()
    whole, parts = logged(tmp_path / "whole"), logged(out)
    assert parts.keys() == whole.keys()
    for tag, values in whole.items():
        assert parts[tag] == values, tag
    assert sorted(rows(out)) == sorted(rows(tmp_path / "whole"))
    for phase in (WORLD_MODEL, AGENT):
        assert same(*(saved(run, phase) for run in (tmp_path / "whole", out))), phase
