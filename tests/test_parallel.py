"""Work over processes: the same results, in order, and errors that reach the caller."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from same_episodes import assert_same

from combo_common.errors import UserError
from data.episode import Episode
from data.formats.manifest import describe
from data.formats.native import Dataset, write_dataset
from data.simulate.rendering import render_episodes
from data.simulate.rollout import PolicySpec, play
from data.simulate.workers import ITEMS_PER_PROCESS, in_order
from data.skipped import Skipped
from envs.registry import get_task

WALKER, HOPPER = get_task("walker-walk"), get_task("hopper")
SIZE = 32
"""Pixels; minari leaves smaller images alone, JPEG or not."""
needs_minari = pytest.mark.skipif(find_spec("minari") is None, reason="minari is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
TERMINATION_FNS = (False, True, False)
"""Of the tests' three episodes the second is ended by the task."""
Columns = dict[str, NDArray[Any]]


def test_what_is_drawn_by_two_processes_is_what_one_draws_and_damage_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (whole,) = play(WALKER, PolicySpec(), [0])
    assert whole.physics is not None
    recorded = [Episode.from_transitions(np.zeros((2, 6)), np.ones(2), whole.physics[at : at + 3]) for at in (0, 9, 99)]
    write_dataset(tmp_path / "recording", recorded, describe(WALKER, "random", 0, {}), progress=False)
    recording = Dataset(tmp_path / "recording")
    one, two = (list(render_episodes(recording, 24, "fast", False, processes)) for processes in (1, 2))
    assert_same(two, one)
    assert one[0].image is not None and one[0].image.shape == (3, 24, 24, 3) and one[0].image.std() > 5.0
    (tmp_path / "recording" / "episode-000001.npz").write_bytes(b"damaged")
    skipped = Skipped()
    assert_same(list(render_episodes(recording, 24, "fast", False, 1, skipped)), [one[0], one[2]])
    assert skipped.read == 2 and len(skipped.reasons) == 1 and "episode-000001.npz" in skipped.reasons[0]
    assert "left out 1 of 3 files" in capsys.readouterr().err
    with pytest.raises(UserError, match="episode-000001.npz was truncated or altered"):
        list(render_episodes(recording, 24, "fast", False, 1))


EVALUATED = partial(partial, eval)
"""Makes a function that is known to any process: it evaluates an item's text."""


def test_results_come_in_order_of_items_without_end_and_errors_reach_the_caller() -> None:
    taken = 0

    def items() -> Iterator[str]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            wait = 0.05 if number % 4 == 0 else 0.0  # the first of four is ready last
            yield f"__import__('time').sleep({wait}) or {number if number < 9 else '1 / 0'}"

    results, processes = in_order(EVALUATED, items(), 2), 2
    for number in range(9):
        assert next(results) == number
        assert taken <= number + ITEMS_PER_PROCESS * processes + 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert taken <= 10 + ITEMS_PER_PROCESS * processes


def test_one_process_takes_an_item_at_a_time_and_closes_what_was_made() -> None:
    closed: list[bool] = []

    class Work:
        def __call__(self, item: int) -> int:
            return item * item

        def close(self) -> None:
            closed.append(True)

    items = itertools.count()
    results = in_order(Work, items, 1)
    assert list(itertools.islice(results, 3)) == [0, 1, 4] and next(items) == 3 and not closed
    results.close()
    assert closed == [True]


def test_what_is_left_while_a_process_sends_its_answer_ends() -> None:
    """Ctrl-C while episodes are drawn: a process may be ended within an answer, whose rest never comes."""
    for _ in range(3):
        results = in_order(EVALUATED, itertools.repeat("b'1' * 30_000_000"), 2)  # more than pipes hold
        assert len(next(results)) == 30_000_000
        results.close()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("open('/nowhere')", r"\[Errno 2\] No such file"),
        ("(_ for _ in ()).throw(EOFError('no data left'))", "^no data left"),
        ("lambda: 1", "pickle.*lambda"),
        ("(_ for _ in ()).throw(type('Odd', (Exception,), {})('odd'))", r"^Odd: odd\n"),
        ("(_ for _ in ()).throw(__import__('subprocess').CalledProcessError(3, 'it'))", "^CalledProcessError: .*it"),
    ],
)
def test_what_is_raised_there_is_raised_here_with_its_place(item: str, said: str) -> None:
    with pytest.raises((OSError, EOFError, RuntimeError, AttributeError), match=f"(?s){said}") as raised:
        list(in_order(EVALUATED, ["1", item, "1"], 2))
    assert "workers.py" in "".join(raised.value.__notes__)


def test_a_process_may_have_others() -> None:
    """An environment of somebody's may start some, as it may where one process plays."""
    nested = "__import__('multiprocessing').get_context('fork').Pool(1).apply(int, ['7'])"
    assert list(in_order(EVALUATED, [nested, "1"], 2)) == [7, 1]


def test_what_is_never_left_ends_with_this_process() -> None:
    program = (
        "from functools import partial; from data.simulate.workers import in_order\n"
        "if __name__ == '__main__':\n"
        "    results = in_order(partial(partial, eval), ['1'] * 9, 2); print(next(results), flush=True)\n"
        "    import builtins; builtins.kept = results\n"
    )
    there = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=there, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_process_that_dies_is_told() -> None:
    results = in_order(EVALUATED, ["1", "__import__('os')._exit(1)"], 2)
    with pytest.raises(UserError, match="a worker process crashed; .* set --processes 1"):
        list(results)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_can_not_be_prepared_is_told_as_it_is(processes: int) -> None:
    with pytest.raises(UserError, match="unknown task 'nowhere'"):
        list(in_order(partial(get_task, "nowhere"), [1, 2, 3], processes))
