"""How to run it.

Optimisers are those of the peers' scripts, which leave torch's fused Adam off on a CPU. `--fused` hands it to
OfflineRL-Kit and TorchRL, whose optimisers are the caller's to make.

An environment of its own (torch first, and held there, for the others would bring a CUDA build):

    python -m venv /tmp/peers && /tmp/peers/bin/pip install "torch==2.13.0"
    echo "torch==2.13.0" > /tmp/peers/constraints.txt
    /tmp/peers/bin/pip install -c /tmp/peers/constraints.txt d3rlpy==2.8.1 torchrl==0.14.1 einops tensorboard
    git clone https://github.com/yihaosun1124/OfflineRL-Kit /tmp/OfflineRL-Kit
    git -C /tmp/OfflineRL-Kit checkout e3ce69793766d02660217d4dfc0af4693a5531bd
    PYTHONPATH=.:/tmp/OfflineRL-Kit /tmp/peers/bin/python -m benchmarks.against_peers --threads 2

OfflineRL-Kit imports tensorboard and gym; d3rlpy brings gym. TorchRL's compiled extension does not load beside torch
2.13: its world model needs nothing of it.
"""

import argparse
import importlib
import json
import os

import torch

from benchmarks import against_peers
from benchmarks.against_peers import d3rlpy_cql, kit_combo, torchrl_dreamer
from benchmarks.against_peers.contest import measure, report
from combo_common.paths import given_path
from data.locate import default_data_dir
from latent_combo.numerics.choices import Choices, processor
from latent_combo.numerics.matmul import LIBRARIES, fastest_library, use_library

PEERS = {"d3rlpy": d3rlpy_cql.PEER, "offlinerl-kit": kit_combo.PEER, "torchrl": torchrl_dreamer.PEER}
ABOUT = [str(part.__doc__) for part in (against_peers, d3rlpy_cql, kit_combo, torchrl_dreamer)] + [str(__doc__)]
"""What the command says of itself."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against_peers",
        description="\n\n".join(part.strip() for part in ABOUT),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peer", choices=[*PEERS, "all"], default="all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument(
        "--updates", type=int, help="steps of each in a turn; 10 of agents and 2 of world models if unset"
    )
    parser.add_argument("--fused", action="store_true", help="fused Adam for OfflineRL-Kit and TorchRL")
    parser.add_argument("--json", type=given_path, metavar="FILE", help="write all measurements to FILE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cpu = torch.device("cpu")
    use_library(Choices(default_data_dir(), cpu).get("library of products", LIBRARIES, fastest_library))
    machine = {
        "torch": torch.__version__,
        "threads": given.threads,
        "processor": processor(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "load": os.getloadavg()[0],
    }
    print("; ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    results, versions = [], {}
    for name in PEERS if given.peer == "all" else [given.peer]:
        peer = PEERS[name]
        try:
            importlib.import_module(peer.module)
        except ImportError as error:
            print(f"\n{name} is left out ({error}); to measure it: {peer.install}", flush=True)
            continue
        versions[name] = peer.about()
        print(f"\n{name} {versions[name]}", flush=True)
        for contest in peer.contests(given.fused):
            results.append(measure(contest, name, given.turns, given.updates or contest.steps))
            report(results[-1])
    if given.json:
        given.json.write_text(json.dumps({**machine, "fused": given.fused, "peers": versions, "results": results}))


if __name__ == "__main__":
    main()
