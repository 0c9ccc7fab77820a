"""Files of settings that strangers send have no code run, no other file read and no memory filled."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from combo_common.errors import UserError
from combo_common.plain_yaml import MOST_BYTES, MOST_LETTERS, MOST_NESTED, load_yaml, read_yaml
from envs import registry
from latent_combo.config.command_line import parse
from latent_combo.config.saved import load_config

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
NESTED_BOMB = "[&a [x,x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b]]"


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module that leaves a mark where it is imported; returns the mark's path."""
    mark = tmp_path / "imported"
    (tmp_path / "evil_module.py").write_text(f"open({str(mark)!r}, 'w').close()\nfrom envs.builtin import BUILTIN\n")
    with (tmp_path / "evil_module.py").open("a") as module:
        module.write("TASK = BUILTIN['hopper']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_named", set())
    monkeypatch.delitem(sys.modules, "evil_module", raising=False)
    return mark


def run_of(folder: Path, settings: str) -> Path:
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "config.yaml").write_text(settings)
    return folder / "run"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "in line 1 is an anchor or alias"),
        ("seed: &x 1\nother: 2", "in line 1 is an anchor or alias"),
        ("seed: !!python/object/apply:os.system ['true']", "in line 1 is a tag"),
        ("seed: !!int 1", "in line 1 is a tag"),
        ("<<: {seed: 1}", "could not determine a constructor"),
        ("a: " + "[" * (MOST_NESTED + 1), f"nested more than {MOST_NESTED} deep"),
        ("[" * 500_000, f"nested more than {MOST_NESTED} deep"),
        ("a: " * 200_000, "YAML"),
        ("agent:\n  beta: [" + "1, " * 257 + "]", "in line 2 a list has more than 256 values"),
        ("a: [[" + "{b: 1}, " * 257 + "]]", "in line 1 a list has more than 256 values"),
        ("seed: " + "9" * 5000, "a value of 5000 letters"),
        ("seed: " + "9" * 4000, "a number of more than 64 bits"),
        ("seed: " + "1:" * 2000 + "1", "a number of more than 64 bits"),
        ("1: 2", "in line 1 1 is no text"),
        ("a: {null: 3}", "null is no text"),
        ("[a]: b", "a list or a group is no text"),
        ("on: 3", "on is no text"),
        ("seed: 1\nagent: {beta: 1}\nseed: 2", "in line 3 seed is there twice"),
        ("a: " + "x" * (MOST_LETTERS + 1), f"of {MOST_LETTERS + 1} letters"),
        ("# " + "x" * MOST_BYTES, f"more than {MOST_BYTES} bytes"),
        ("".join(f"a{name}: 1\n" for name in range(50_000)), "more than 20000 values"),
        ("--- 1\n--- 2", "expected a single document"),
        ("a: \x00", "YAML"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "YAML"),
    ],
)
def test_what_settings_never_have_is_refused_at_once(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content.encode("latin-1"))
    began = time.process_time()
    with pytest.raises(UserError, match=said) as refused:
        read_yaml(path)
    assert time.process_time() - began < 0.5
    assert str(path) in str(refused.value) and str(refused.value).isprintable() and len(str(refused.value)) < 600


def test_plain_values_are_what_they_were() -> None:
    text = "a: 1\nb: [1.5, true, null, 'x & *y !z', .inf]\nc: {d: 2026-13-45, e: 2026-11-28}\nf: /data/R&D/*\n"
    assert load_yaml(text, "it") == {
        **{"a": 1, "b": [1.5, True, None, "x & *y !z", float("inf")]},
        **{"c": {"d": "2026-13-45", "e": "2026-11-28"}, "f": "/data/R&D/*"},
    }


def test_no_pipe_is_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is not a YAML file of settings"):
        read_yaml(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("agent: {class_path: evil_module.Thing}", "there is no setting agent.class_path"),
        ("agent: {network: {class_path: evil_module.Thing, init_args: {}}}", "there is no setting agent.network.class"),
        ("config: other.yaml", "there is no setting config"),
        ("agent: other.yaml", "agent is 'other.yaml', but it is a group of settings"),
        ("agent: [[1]]", "but it is a group of settings"),
        ("seed: {a: 1}", "seed has settings below it"),
        ("__path__: other.yaml", "there is no setting __path__"),
        ("agent: {__default_config__: other.yaml}", "there is no setting agent.__default_config__"),
        ("resume: other", "there is no setting resume"),
        ("agent: {beta: [[[1]]]}", "agent.beta has a list or a group in a list"),
        (f"agent: {{beta: '{NESTED_BOMB}'}}", "agent.beta is not taken .* is an anchor or alias"),
        ("log: '!!python/name:evil_module.x'", "log is not taken .* is a tag"),
        (f"agent: {{beta: '{'[' * 2000}'}}", "agent.beta is not taken .* nested more than"),
        ("task: evil_module:TASK", "names the task 'evil_module:TASK'.*add to the command: --task evil_module:TASK"),
        ("task: gymnasium:evil_module:Evil-v0", "names the task 'gymnasium:evil_module:Evil-v0'"),
    ],
)
def test_a_run_of_a_stranger_has_nothing_imported_or_read(settings: str, said: str, evil: Path) -> None:
    (evil.parent / "other.yaml").write_text("seed: 77\n")
    run = run_of(evil.parent, settings)
    commands: list[Any] = [["--resume", str(run)]]
    if "task" not in settings:  # which needs a task to be made
        with pytest.raises(UserError, match=said):
            load_config(run)
    commands.append(["--config", str(run / "config.yaml"), "--obs", "state"])
    for words in commands:
        with pytest.raises(UserError, match=said) as refused:
            parse(words)
        assert str(refused.value).isprintable()
    assert not evil.exists() and "evil_module" not in sys.modules


def test_a_group_from_a_file_has_nothing_imported(evil: Path) -> None:
    (evil.parent / "group.yaml").write_text("class_path: evil_module.Thing\n")
    for words in (["--agent", "group.yaml"], ["--agent", '{"class_path": "evil_module.Thing"}']):
        with pytest.raises(UserError, match="there is no setting agent.class_path"):
            parse(words)
    with pytest.raises(UserError, match="there is no setting agent.class_path"):
        parse(["--agent.class_path", "evil_module.Thing"])
    assert not evil.exists()


@pytest.mark.parametrize("way", ["the option", "the variable", "the variable, a package of it"])
def test_a_module_is_imported_for_whoever_names_it(way: str, evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, words = run_of(evil.parent, "obs: state\ntask: evil_module:TASK"), ["--resume", str(evil.parent / "run")]
    if way == "the option":
        words += ["--task", "evil_module:TASK"]
    else:
        monkeypatch.setenv(registry.TRUSTED, "other, evil_module" if "package" not in way else "evil_modul, evil_mod")
    if "package" in way:  # only whole names count
        with pytest.raises(UserError, match="names the task"):
            parse(words)
        return
    config, resume = parse(words)
    assert (config.task, config.out, resume) == ("evil_module:TASK", str(run), True)
    assert registry.get_task(config.task).name == "hopper" and evil.exists()


def test_a_resumed_run_takes_no_other_task(evil: Path) -> None:
    run = run_of(evil.parent, "obs: state\ntask: walker2d")
    with pytest.raises(UserError, match="task is hopper, but the run .* is of walker2d"):
        parse(["--resume", str(run), "--task", "evil_module:TASK"])
    with pytest.raises(UserError, match="stands alone, or with --task"):
        parse(["--resume", str(run), "--task", "walker2d", "--seed", "1"])
