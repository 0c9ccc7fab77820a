"""Checkpoints: whole or not at all, read back only as they were written, and nothing of them is run."""

import json
import math
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_writes import Killed, killed_at

from combo_common.errors import UserError
from latent_combo.runtime import checkpoint, old_checkpoint
from latent_combo.runtime.manifest import MANIFEST
from latent_combo.runtime.saver import Saver

CPU = torch.device("cpu")


def state_of(step: int) -> dict[str, Any]:
    weights = torch.arange(600.0).reshape(20, 30) + step
    return {"fit": {"step": step, "model": {"w": weights}, "buffer": torch.ones(7)}, "seconds": {"agent": 1.5}}


def saved(folder: Path, *steps: int, kept: int = 2) -> Path:
    path = folder / "checkpoints" / "agent"
    for step in steps:
        checkpoint.save(path, step, state_of(step), kept)
    return path


def names(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


def step_of(path: Path) -> int:
    """The step of the checkpoint that is read, after looking at its tensor."""
    state = checkpoint.load(path, CPU)
    assert torch.equal(state["fit"]["model"]["w"], state_of(state["fit"]["step"])["fit"]["model"]["w"])
    assert state["seconds"] == {"agent": 1.5}
    return int(state["fit"]["step"])


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal to the bit, in the types of their values and the order of their keys, too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        both = (tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*both)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return struct.pack(">d", one) == struct.pack(">d", other)
    return bool(one == other)


def everything() -> dict[str, Any]:
    """One of each kind that a state may have."""
    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16)
    tensors = {str(kind): torch.arange(5).to(kind) for kind in (*types, torch.int8, torch.uint8, torch.bool)}
    return {
        "tensors": tensors,
        "generator": torch.Generator().manual_seed(3).get_state(),
        "shapes": [
            torch.tensor(1.5),
            torch.zeros(0, 3),
            torch.arange(12.0).reshape(3, 4).t(),
            torch.ones(2, 9)[:, ::3],
        ],
        "special": torch.tensor([math.nan, math.inf, -0.0, 5e-324], dtype=torch.float64),
        "numbers": [0, -1, 2**200, True, False, None, 0.1, -0.0, 1e-320, math.inf, -math.inf, math.nan],
        "text": ["", "ä\n\u2028", "\x00", "\ud800"],
        "nested": {"": {"a/b": [[], {}, ()], "__metadata__": torch.ones(1)}, "tuple": (1, (2.5, torch.zeros(1)))},
        "keys": {1: "one", "1": "text", None: torch.ones(2), (1, "a"): 2, "$tensor": "x", "$": {"$dict": [1]}},
        "a": {"b": torch.zeros(1)},
        "a/b": torch.ones(1),
        "$float": 1,
    }


def test_every_value_comes_back_as_it_was(tmp_path: Path) -> None:
    state = everything()
    size = checkpoint.save(tmp_path / "agent", 1, state)
    assert same(checkpoint.load(tmp_path / "agent", CPU), state)
    files = list((tmp_path / "agent-0000001").iterdir())
    assert size == sum(file.stat().st_size for file in files if file.name != MANIFEST)
    json.loads((tmp_path / "agent-0000001" / "state.json").read_bytes(), parse_constant=lambda word: pytest.fail(word))


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), torch.float32, torch.zeros(1, dtype=torch.complex64)])
def test_what_is_not_plain_is_refused_by_its_place(tmp_path: Path, value: object) -> None:
    path = saved(tmp_path, 1)
    with pytest.raises(TypeError, match="fit/odd/0 is .*which a checkpoint does not hold"):
        checkpoint.save(path, 2, {"fit": {"odd": [value]}})
    assert names(path) == ["agent-0000001"]


def test_the_last_ones_stay_and_the_newest_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path, 1, 2, 30, 9_999_999, 10_000_000)
    assert names(path) == ["agent-10000000", "agent-9999999"] and step_of(path) == 10_000_000
    saved(tmp_path, 10_000_001, kept=1)
    assert names(path) == ["agent-10000001"]
    checkpoint.save(path.with_name("agent_b"), 1, {})  # another's is no concern of this one's
    assert names(saved(tmp_path, 10_000_002, kept=1)) == ["agent-10000002", "agent_b-0000001"]
    checkpoint.save(path, 10_000_002, {"again": True})
    assert checkpoint.load(path, CPU) == {"again": True}


def test_parts_are_left_out(tmp_path: Path) -> None:
    loaded = checkpoint.load(saved(tmp_path, 1), CPU, skip=("fit/buffer",))
    assert loaded["fit"]["buffer"] is None and loaded["fit"]["model"]["w"].shape == (20, 30)


def test_a_save_that_is_killed_anywhere_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    saved(tmp_path / "counted", 10, 20)
    with killed_at(-1) as count:
        saved(tmp_path / "counted", 30)
    appeared = 0
    for call in range(count()):
        path = saved(tmp_path / str(call), 10, 20)
        with killed_at(call), pytest.raises(Killed):
            saved(tmp_path / str(call), 30)
        reached = step_of(path)
        assert reached in (20, 30), call
        assert reached >= appeared, "it was there after fewer calls"
        appeared = reached
        # what is left over does not disturb the next save, and goes at the next start
        saved(tmp_path / str(call), 40)
        assert step_of(path) == 40
        checkpoint.sweep(path, None)
        assert names(path)[-1] == "agent-0000040" and len(names(path)) == 2
    assert appeared == 30 and count() > 12


def test_the_first_save_that_is_killed_leaves_none(tmp_path: Path) -> None:
    with killed_at(6), pytest.raises(Killed):
        saved(tmp_path, 10)
    path = tmp_path / "checkpoints" / "agent"
    assert names(path) == ["agent-0000010.partial"] and not checkpoint.exists(path)
    checkpoint.sweep(path, None)
    assert names(path) == []


def test_files_are_on_the_disk_before_the_manifest_and_that_before_the_name(tmp_path: Path) -> None:
    said: list[str] = []
    with killed_at(-1, said):
        saved(tmp_path, 10)
    folder = tmp_path / "checkpoints"
    partial = folder / "agent-0000010.partial"
    flushed = [line for line in said if line.startswith(("fsync", "rename"))]
    assert flushed == [
        *(f"fsync {partial / name}" for name in ("state.json", "tensors.safetensors", MANIFEST)),
        f"fsync {partial}",
        f"rename {partial}",
        f"fsync {folder}",
    ]
    last_write = max(index for index, line in enumerate(said) if line.startswith("write"))
    assert said[last_write + 1] == f"fsync {partial / MANIFEST}"


def test_a_full_disk_is_a_line_and_the_checkpoint_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, 10)

    def full(opened: int, content: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(UserError, match="cannot write to .*agent-0000020: No space left .*free some space"):
            saved(tmp_path, 20)
        saver = Saver(kept=2)
        saver.save(path, 30, state_of(30))
        with pytest.raises(UserError, match="agent-0000030: No space left"):
            saver.wait()
    assert names(path) == ["agent-0000010"] and step_of(path) == 10
    saver.save(path, 40, state_of(40))
    saver.close()
    assert step_of(path) == 40


def test_what_is_saved_beside_the_training_is_as_it_was_when_it_was_asked_for(tmp_path: Path) -> None:
    state, saver = everything(), Saver(kept=2)
    saver.save(tmp_path / "agent", 1, state)
    for tensor in (*state["tensors"].values(), *state["shapes"]):
        tensor.zero_()
    state["numbers"].clear()
    saver.close()
    assert same(checkpoint.load(tmp_path / "agent", CPU), everything())


def damage(file: Path, draw: random.Random) -> None:
    """Flip a bit of a file, cut it off, or remove it."""
    content = bytearray(file.read_bytes())
    kind = draw.random()
    if kind < 0.7:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
    elif kind < 0.95:
        file.write_bytes(content[: draw.randrange(len(content))])
    else:
        file.unlink()


def test_each_of_100_damages_is_detected_and_the_checkpoint_before_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, draw = saved(tmp_path, 10, 20), random.Random(0)
    newest, whole = path.with_name("agent-0000020"), tmp_path / "whole"
    shutil.copytree(newest, whole)
    for _ in range(100):
        file = newest / draw.choice(["state.json", "tensors.safetensors", MANIFEST])
        damage(file, draw)
        assert step_of(path) == 10
        said = capsys.readouterr().err
        assert said.startswith(f"warning: {file} ") and said.count("\n") == 1
        assert said.endswith("; agent-0000020 is damaged, and agent-0000010 is used instead\n")
        shutil.copy(whole / file.name, file)
    assert step_of(path) == 20 and not capsys.readouterr().err


def test_where_none_is_whole_a_line_names_them_all(tmp_path: Path) -> None:
    path = saved(tmp_path, 10, 20)
    (path.with_name("agent-0000020") / MANIFEST).unlink()
    (path.with_name("agent-0000010") / "state.json").write_bytes(b"{}")
    with pytest.raises(UserError) as refused:
        checkpoint.load(path, CPU)
    line = str(refused.value)
    assert f"agent-0000020/{MANIFEST} is missing" in line and "agent-0000010/state.json has 2 bytes instead of" in line
    assert line.endswith("remove what is damaged and train that part again") and "\n" not in line
    with pytest.raises(UserError, match=r"world_model-\* does not exist; has this run been trained that far\?"):
        checkpoint.load(path.with_name("world_model"), CPU)


def test_damaged_ones_are_set_aside_and_count_no_more(tmp_path: Path) -> None:
    path = saved(tmp_path, 10, 20)
    (path.with_name("agent-0000020") / MANIFEST).unlink()
    checkpoint.sweep(path, checkpoint.find(path, CPU))
    saved(tmp_path, 15)
    assert names(path) == ["agent-0000010", "agent-0000015", "agent-0000020.damaged"] and step_of(path) == 15


def test_a_format_to_come_and_a_forbidden_file_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, 10)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "FORMAT", 3)
        saved(tmp_path, 20)
    with pytest.raises(UserError, match="agent-0000020 is of format 3, not 2; read it by the version that wrote it"):
        checkpoint.load(path, CPU)

    def forbidden(self: Path, *_: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(UserError, match="can not read .*agent-0000020/manifest.json: Permission denied; mend"):
        checkpoint.load(path, CPU)


# Checkpoints of before


def old(folder: Path, state: object) -> Path:
    """A phase's checkpoint as versions of before wrote it."""
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "agent.pt")
    return folder / "agent"


def test_checkpoints_of_before_are_read_with_the_same_values(tmp_path: Path) -> None:
    state = everything()
    for name in ("keys", "text", "numbers"):  # of surrogates and of huge numbers there were none
        state.pop(name)
    base = torch.arange(24.0)
    state["views"] = {"a": base[4:10], "b": base.reshape(4, 6)[1:, ::2], "c": torch.nn.Parameter(base)}
    state["module"] = torch.nn.Linear(3, 2).state_dict()
    state["numbers"] = [0, -1, 300, 2**20, 2**40, True, False, None, 0.1, math.inf, math.nan]
    loaded = checkpoint.load(old(tmp_path, state), CPU)
    state["views"]["c"] = base
    state["module"] = dict(state["module"])
    assert same(loaded, state)


def test_a_new_one_counts_before_one_of_before_which_is_used_where_that_is_damaged(tmp_path: Path) -> None:
    path = old(tmp_path / "checkpoints", state_of(5))
    assert checkpoint.exists(path) and step_of(path) == 5
    saved(tmp_path, 10)
    assert step_of(path) == 10
    (path.with_name("agent-0000010") / MANIFEST).unlink()
    assert step_of(path) == 5


def test_no_altered_or_truncated_one_of_before_gives_other_weights(tmp_path: Path) -> None:
    path, draw = old(tmp_path, state_of(7)), random.Random(0)
    content, refused = (tmp_path / "agent.pt").read_bytes(), 0
    for _ in range(100):
        place = draw.randrange(len(content))
        flipped = content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
        (tmp_path / "agent.pt").write_bytes(draw.choice([flipped, content[:place]]))
        try:
            assert step_of(path) == 7  # a byte of padding, which says nothing
        except UserError as error:
            assert "agent.pt is not a readable checkpoint" in str(error)
            refused += 1
    assert refused > 60


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_nothing_that_a_checkpoint_of_before_names_is_run(tmp_path: Path) -> None:
    old(tmp_path, state_of(7))
    target = tmp_path / "ran"
    contents = [pickle.dumps(value, 2) for value in (Payload(target), {"fit": Payload(target)}, OrderedDict(a=target))]
    contents += [b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00trueq\x00\x85R.", b"\x80\x02}", b".", b"\x80\x02]q\x00h\x00a."]
    with zipfile.ZipFile(tmp_path / "agent.pt") as source:
        files = {name: source.read(name) for name in source.namelist()}
    for content in contents:
        with zipfile.ZipFile(tmp_path / "agent.pt", "w") as copy:
            for name, own in files.items():
                copy.writestr(name, content if name.endswith("data.pkl") else own)
        with pytest.raises(UserError, match="agent.pt is not a readable checkpoint"):
            checkpoint.load(tmp_path / "agent", CPU)
    assert not target.exists()


def test_a_small_file_of_before_can_not_ask_for_much_memory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a tensor has more numbers than the file"):
        checkpoint.load(old(tmp_path, {"w": torch.zeros(1).expand(1 << 40)}), CPU)
    with zipfile.ZipFile(tmp_path / "agent.pt", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("agent/data.pkl", b"\0" * (1 << 24))
    with pytest.raises(ValueError, match="compressed"):
        old_checkpoint.read(tmp_path / "agent.pt")


@pytest.mark.parametrize("content", [b"", b"hello world\n", bytes(range(256))])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "agent.pt").write_bytes(content)
    with pytest.raises(UserError, match="agent.pt is not a readable checkpoint"):
        checkpoint.load(tmp_path / "agent", CPU)
