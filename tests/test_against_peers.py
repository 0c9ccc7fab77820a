"""The comparison with other libraries, which are not installed here: all but their side of it."""

import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.against_peers import __main__ as against_peers
from benchmarks.against_peers import agents, d3rlpy_cql, kit_combo, torchrl_dreamer
from benchmarks.against_peers.contest import Runner

THEIRS = ((d3rlpy_cql, "d3rlpy_cql"), (kit_combo, "kit_combo"), (torchrl_dreamer, "torchrl_dreamer"))


def test_ours_is_timed_beside_each_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("ROWS", 2_000), ("BATCH", 16), ("HIDDEN", 16), ("SAMPLED", 2), ("IMAGINED", 100)):
        monkeypatch.setattr(agents, name, value)
    monkeypatch.setattr(torchrl_dreamer, "SEQUENCES", 1)
    monkeypatch.setattr(torchrl_dreamer, "LENGTH", 3)
    monkeypatch.setattr(torchrl_dreamer, "with_fastest_ways", lambda config, *given: config)
    monkeypatch.setattr(against_peers, "use_library", lambda library: None)
    monkeypatch.setattr(against_peers, "fastest_library", lambda: "mkl")
    monkeypatch.setattr(against_peers, "default_data_dir", lambda: tmp_path)
    monkeypatch.setattr(torchrl_dreamer, "default_data_dir", lambda: tmp_path)
    square = torch.ones(8, 8)
    for module, name in THEIRS:
        monkeypatch.setattr(module, name, lambda *given: Runner(lambda: square @ square))
    for name, peer in list(against_peers.PEERS.items()):
        monkeypatch.setitem(sys.modules, peer.module, ModuleType(peer.module))
        monkeypatch.setitem(against_peers.PEERS, name, dataclasses.replace(peer, about=lambda: "1.0"))
    threads, out = str(torch.get_num_threads()), tmp_path / "out.json"
    given = ["against_peers", "--turns", "1", "--updates", "1", "--threads", threads, "--json", str(out)]
    monkeypatch.setattr(sys, "argv", given)
    against_peers.main()
    results = json.loads(out.read_text())["results"]
    assert [(result["peer"], result["contest"], *result["ratio"]) for result in results] == [
        ("d3rlpy", "CQL, 17 states", "ours", "ours, one draw", "ours, bfloat16", "ours, 3 as a stack"),
        *(
            ("offlinerl-kit", f"COMBO, {states}, rho {rho}", "ours", "ours, one draw", "ours, bfloat16")
            for states in ("17 states", "384 features")
            for rho in ("mix", "model")
        ),
        ("torchrl", "world model, 1 sequences of 3 images", "ours", "ours, 7 priors"),
    ]
    assert all(work > 0.0 for result in results for work in result["gflop"].values())
    assert "\nworld model, 1 sequences of 3 images (1 turns of 1 steps)\n" in capsys.readouterr().out


def test_a_peer_that_is_not_there_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(against_peers, "use_library", lambda library: None)
    monkeypatch.setattr(against_peers, "fastest_library", lambda: "mkl")
    monkeypatch.setattr(against_peers, "default_data_dir", lambda: tmp_path)
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    monkeypatch.setattr(sys, "argv", ["against_peers", "--peer", "d3rlpy", "--threads", str(torch.get_num_threads())])
    against_peers.main()
    assert "d3rlpy is left out" in capsys.readouterr().out
