"""Jobs as processes: their locks, logs, threads and ends, and how Ctrl-C stops them. No job here trains anything."""

import dataclasses
import fcntl
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from toy_comparison import a_job, a_run

from combo_common.errors import StoppedError, UserError
from latent_combo import compare
from latent_combo.comparison import run_job as running
from latent_combo.comparison.gpus import VISIBLE, gpu_of, visible_gpus
from latent_combo.comparison.job import LOG, RECORD, Job, Outcome
from latent_combo.comparison.plan import Plan, keep_aside
from latent_combo.comparison.processes import ProcessScheduler
from latent_combo.comparison.run_job import AT_ONCE, SAVE, run_job

FINISHES = """
import pathlib, sys
run = pathlib.Path(sys.argv[sys.argv.index("--out") + 1] if "--out" in sys.argv else sys.argv[2])
(run / "result.json").write_text((run.parents[2] / "prepared.json").read_text())
"""
WAITS = """
import pathlib, signal, sys, time
run = pathlib.Path(sys.argv[2])
def save(number, frame):
    (run / "saved").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
(run / "began").touch()
time.sleep(60)
"""
IGNORES = WAITS.replace("sys.exit(130)", "pass").replace("time.sleep(60)", "[time.sleep(1) for _ in range(60)]")
NO_SUCH = ("failed", "no such thing; mend it")
ABORTED = ("failed", "ended by SIGABRT; the log's last line: step 2")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with the result that `FINISHES` writes."""
    a_run([1.0, 2.0]).with_diagnostics({"left": "out"}, {}).write(tmp_path)
    (tmp_path / "result.json").rename(tmp_path / "prepared.json")
    return tmp_path


def begin(job: Job) -> None:
    """Leave the folder of a run that was begun."""
    job.folder.mkdir(parents=True)
    (job.folder / "config.yaml").touch()


def test_a_job_and_its_outcome_are_plain_data(out: Path) -> None:
    job = dataclasses.replace(a_job(out), fingerprint={"data": "1"})
    for plain in (job, Outcome("busy", "x")):
        assert pickle.loads(pickle.dumps(plain)) == plain  # noqa: S301  # what was made a moment ago
    assert len({job, dataclasses.replace(job, seed=1)}) == 2
    assert (
        a_job(out).program
        != Job.__dataclass_fields__["program"].default
        == (
            *(sys.executable, "-P", "-m"),
            "latent_combo.train",
        )
    )


def test_a_run_that_ends_well_is_finished_and_says_what_it_is_known_by(out: Path) -> None:
    job = a_job(out, FINISHES, fingerprint={"data": "1"})
    outcome = run_job(job)
    assert outcome.status == "finished" and outcome.error == "" and outcome.seconds > 0
    assert '"data": "1"' in (job.folder / RECORD).read_text()
    again = dataclasses.replace(job, program=("/nowhere",))
    assert run_job(again).status == "finished"  # nothing is started


def test_a_run_that_was_begun_goes_on(out: Path) -> None:
    job = a_job(out, "import sys; print(sys.argv[1:]); " + FINISHES, fingerprint={"data": "1"})
    begin(job)
    assert run_job(job).status == "finished" and not (job.folder / RECORD).exists()
    assert (job.folder / LOG).read_text() == f"['--resume', '{job.run}']\n"
    assert job.command.endswith(f"train --resume {job.run}")


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        ("import sys; print('a'); print('error: no such thing; mend it'); print('b'); sys.exit(2)", *NO_SUCH),
        ("raise ValueError('of a traceback')", "failed", "ValueError: of a traceback"),
        ("import os; print('step 1\\rstep 2', end='', flush=True); os.abort()", *ABORTED),
        ("pass", "failed", "the log is empty"),  # and there is no result
        ("import sys; sys.exit(130)", "stopped", ""),
        (
            "import pathlib, sys; pathlib.Path(sys.argv[2], 'bad_batch.safetensors').touch(); "
            "print('error: loss is nan'); sys.exit(2)",
            "diverged",
            "loss is nan",
        ),
    ],
)
def test_what_became_of_a_run_and_the_last_line_of_its_error(script: str, status: str, error: str, out: Path) -> None:
    job = a_job(out, script)
    outcome = run_job(job)
    assert (outcome.status, outcome.error) == (status, error)


def test_an_error_of_an_earlier_attempt_is_not_of_this_one(out: Path) -> None:
    job = a_job(out, "import sys; sys.exit('error: the second')")
    begin(job)
    (job.folder / LOG).write_text("error: the first\n")
    assert run_job(job).error == "the second"
    assert run_job(dataclasses.replace(job, program=(sys.executable, "-c", "pass"))).error == "the log is empty"
    assert (job.folder / LOG).read_text().startswith("error: the first\n")


def test_nothing_is_raised_for_a_folder_that_can_not_be_written(out: Path) -> None:
    (out / "hopper-mini").touch()
    assert run_job(a_job(out)).status == "failed"
    missing = dataclasses.replace(a_job(out, label="other"), program=("/nowhere/python",))
    assert "No such file" in run_job(missing).error


def test_two_processes_never_train_in_one_folder(out: Path) -> None:
    """Even where the comparison that started the first was killed: the process that trains holds the lock."""
    job = a_job(out, FINISHES)
    begin(job)
    with open(job.folder / LOG, "ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=log)
    try:
        outcome = run_job(job)
        assert outcome.status == "busy" and f"another process trains in {job.run}" in outcome.error
        with pytest.raises(UserError, match="another process trains in"):
            keep_aside(job.folder)
        assert job.folder.is_dir()
    finally:
        orphan.communicate(b"\n")
    assert run_job(job).status == "finished"


def test_a_source_that_changes_while_a_grid_runs_begins_no_run(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job(out, FINISHES, fingerprint={"code": "then"})
    monkeypatch.setattr(running, "code", lambda: "now")
    assert "source was changed after this comparison began" in run_job(job).error
    monkeypatch.setattr(running, "code", lambda: "then")
    assert run_job(job).status == "finished"


def test_each_process_has_its_share_of_the_cores_unless_the_environment_says_otherwise(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert [ProcessScheduler(workers).threads for workers in (1, 3, 16)] == [8, 2, 1]
    for name in running.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    job = a_job(out, "import os; print([os.environ.get(n) for n in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')])")
    assert run_job(job, threads=2).error == "['2', '5']"
    assert run_job(job).error == "[None, '5']"
    monkeypatch.delenv("MKL_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # MKL's 2 would be PyTorch's, too
    assert run_job(job, threads=2).error == "['1', '1']"


def test_the_program_of_a_run_is_this_one_wherever_it_is_started(out: Path) -> None:
    (out / "combo_common.py").write_text("raise SystemExit(1)")
    job = a_job(out)
    program = (sys.executable, "-P", "-c", "import combo_common; print(combo_common.__file__)")
    assert run_job(dataclasses.replace(job, program=program)).error == str(
        running.ROOT / "combo_common" / "__init__.py"
    )


def run(jobs: list[Job], workers: int) -> tuple[dict[Job, Outcome], list[int]]:
    """Schedule jobs; returns what became of them, and the most processes at a time that `done` saw."""
    outcomes = dict[Job, Outcome]()
    ProcessScheduler(workers).run(jobs, outcomes.__setitem__)
    return outcomes, []


def test_all_jobs_run_and_each_outcome_is_its_own_jobs(out: Path) -> None:
    jobs = [a_job(out, FINISHES if seed % 2 else f"exit('error: {seed}')", seed=seed) for seed in range(5)]
    outcomes, _ = run(jobs, workers=2)
    said = {job.seed: (outcome.status, outcome.error) for job, outcome in outcomes.items()}
    assert said == {seed: ("finished", "") if seed % 2 else ("failed", f"{seed}") for seed in range(5)}
    assert run([], workers=2)[0] == {}


def test_no_more_runs_at_a_time_than_workers(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, most, lock = [0], [0], threading.Lock()

    def job_that_counts(job: Job, *_: Any) -> Outcome:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return Outcome("finished")

    monkeypatch.setattr("latent_combo.comparison.processes.run_job", job_that_counts)
    run([a_job(out, seed=seed) for seed in range(9)], workers=3)
    assert most == [3]


@pytest.mark.parametrize(
    ("named", "gpus", "of_places"),
    [("0,1", ["0", "1"], ["0", "1", "0"]), (" GPU-a, GPU-b ,", ["GPU-a", "GPU-b"], ["GPU-a", "GPU-b", "GPU-a"]),
     ("3", ["3"], [None] * 3), ("", [], [None] * 3), ("0,2,-1,1", ["0", "2"], ["0", "2", "0"])],
)  # fmt: skip
def test_runs_side_by_side_have_the_visible_gpus_in_turn(
    named: str, gpus: list[str], of_places: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, named)
    assert visible_gpus() == gpus
    assert [gpu_of(place, gpus).get(VISIBLE) for place in range(3)] == of_places
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["0", "1"]


def test_a_run_takes_the_gpu_of_the_one_that_has_ended(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "4,7")
    ends, seen = [threading.Event() for _ in range(3)], dict[int, str]()

    def held(job: Job, threads: int, stops: Any, own: dict[str, str]) -> Outcome:
        seen[job.seed] = own[VISIBLE]
        if job.seed == 2:  # it began when 1 had ended; now the first may end, too
            ends[0].set()
        if job.seed != 1:
            assert ends[job.seed].wait(20.0) or job.seed == 2
        return Outcome("finished")

    ends[2].set()
    monkeypatch.setattr("latent_combo.comparison.processes.run_job", held)
    run([a_job(out, seed=seed) for seed in range(3)], workers=2)
    assert seen == {0: "4", 1: "7", 2: "7"}


def test_what_a_run_has_of_its_own_is_in_its_environment(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "0,1")
    job = a_job(out, f"import os; print(os.environ['{VISIBLE}'])")
    assert run_job(job).error == "0,1" and run_job(job, own={VISIBLE: "1"}).error == "1"


def signal_when(ready: Path, number: int) -> threading.Thread:
    """Send this process a signal once a file is there."""

    def wait() -> None:
        while not ready.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_has_runs_save_what_they_have_and_begins_no_more(number: int, out: Path) -> None:
    jobs = [a_job(out, WAITS, seed=seed) for seed in range(3)]
    outcomes = dict[Job, Outcome]()
    signal_when(jobs[0].folder / "began", number)
    with pytest.raises(StoppedError, match="2 of 3 runs were not begun"):
        ProcessScheduler(1).run(jobs, outcomes.__setitem__)
    assert [outcome.status for outcome in outcomes.values()] == ["stopped"]
    assert (jobs[0].folder / "saved").exists() and not jobs[1].folder.exists()


def test_a_second_signal_ends_runs_at_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("combo_common.interrupt.AGAIN", 0.0)
    job = a_job(out, IGNORES)
    signal_when(job.folder / "began", signal.SIGINT)
    signal_when(job.folder / "saved", signal.SIGINT)  # the first one was heard, and does not end it
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ProcessScheduler(1).run([job], lambda *_: None)
    assert time.monotonic() - began < 30


def test_what_a_worker_is_asked_for_reaches_the_process(out: Path) -> None:
    """As a scheduler of another kind does it, outside of the main thread."""
    polite, stubborn = a_job(out, WAITS), a_job(out, IGNORES, seed=1)
    asked = iter((0, SAVE))
    assert (
        run_job(polite, stops=lambda: next(asked, SAVE) if (polite.folder / "began").exists() else 0).status
        == "stopped"
    )
    assert (polite.folder / "saved").exists()

    def stops() -> int:
        return AT_ONCE if (stubborn.folder / "saved").exists() else SAVE * (stubborn.folder / "began").exists()

    assert run_job(stubborn, stops=stops).status == "stopped"


def test_a_comparison_that_is_stopped_says_how_to_go_on_and_has_tables_of_what_there_is(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped:
        def run(self, jobs: list[Job], done: Any) -> None:
            job = jobs[0]
            job.folder.mkdir(parents=True)
            a_run([1.0]).with_diagnostics({"left": "out"}, {}).write(job.folder)
            done(job, Outcome("finished"))
            raise StoppedError("stopped and saved: 1 of 2 runs were not begun")

    arguments = [
        str(out / "grid"),
        "--datasets",
        "hopper-mini",
        "--algorithms",
        "cql",
        "--seeds",
        "2",
        "--obs",
        "state",
    ]
    monkeypatch.setattr(sys, "argv", ["latent-combo", *arguments])
    monkeypatch.setattr(compare, "scheduler", lambda given: Stopped())
    with pytest.raises(StoppedError) as stopped:
        compare.main()
    assert str(stopped.value).endswith(f"not begun; go on with: latent-combo compare {' '.join(arguments)}")
    page = (out / "grid" / "compare.md").read_text()
    assert "1 of 2 runs are finished" in page and "| hopper-mini | cql | 1 | waiting |" in page


def test_whenever_a_run_ends_the_tables_have_it_and_pictures_come_last(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, int, bool]] = []

    class InTurns:
        def run(self, jobs: list[Job], done: Any) -> None:
            for job in jobs:
                job.folder.mkdir(parents=True)
                a_run([float(job.seed)]).with_diagnostics({"left": "out"}, {}).write(job.folder)
                (job.folder / "dataset.json").write_text(f'{{"fingerprint": "{min(job.seed, 1) if differ else 0}"}}')
                done(job, Outcome("finished"))
                page, drawn = (out / "grid" / "compare.md").read_text(), (out / "grid" / "compare-scores.png").exists()
                table = (out / "grid" / "compare.csv").read_text()
                seen.append((page.splitlines()[2].split(" are")[0], table.count("finished"), drawn or "![" in page))

    words = ("--datasets", "hopper-mini", "--algorithms", "cql", "--seeds", "3", "--obs", "state")
    monkeypatch.setattr(sys, "argv", ["latent-combo", str(out / "grid"), *words])
    monkeypatch.setattr(compare, "scheduler", lambda given: InTurns())
    monkeypatch.setattr("latent_combo.comparison.files.pictures", lambda *_: {"compare-scores.png": b""})
    monkeypatch.setattr(compare.Plan, "of", lambda jobs: Plan(left=list(jobs)))
    differ = False
    compare.main()
    assert seen == [("1 of 3 runs", 1, False), ("2 of 3 runs", 2, False), ("2 of 3 runs", 2, False)]
    page = (out / "grid" / "compare.md").read_text()
    assert "3 of 3 runs are finished" in page and "![compare-scores.png]" in page
    # What stops the tables stops no run; the end says it
    shutil.rmtree(out / "grid")
    differ = True
    with pytest.raises(UserError, match="were made of different data"):
        compare.main()
    assert len(seen) == 6 and "note: the tables are not up to date: " in capsys.readouterr().err


def test_runs_that_are_kept_aside_have_a_name_each(out: Path) -> None:
    job = a_job(out)
    for number in (1, 2):
        begin(job)
        assert keep_aside(job.folder) == job.folder.with_name(f"seed0.before-{number}")
    begin(job)
    (job.folder / "bad_batch.safetensors").touch()
    (job.folder / RECORD).write_text("{}")
    assert list(Plan.of([job]).differ.values()) == ["no word of what it is known by"]
