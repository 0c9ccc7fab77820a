"""`python -m benchmarks.tiny_mdp`: which algorithms overestimate, and which are better than their data.

All registered algorithms that suit states, or those of `--algorithms`, are trained at toy sizes on an MDP whose returns
are known (`benchmarks/tiny_mdp/mdp.py`): some ten seconds each on one core. It prints, for each agent, what its policy
returns, what its critics think of it, the difference, and the largest action that it takes. `--out DIR` keeps the
figures as result.json, and a picture as values.png.
"""

import argparse
import json
import time
from dataclasses import asdict

import numpy as np

from benchmarks.tiny_mdp import mdp
from benchmarks.tiny_mdp.figure import draw
from benchmarks.tiny_mdp.training import CPU, Outcome, Rows, config_of, fit_model, outcomes, train
from combo_common.cli import Parser, run_cli
from combo_common.errors import UserError
from combo_common.paths import given_path
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.config.schema import Config
from latent_combo.numerics.precision import set_precision


def chosen(names: list[str] | None, seeds: int, updates: int, beta: float) -> dict[str, Config]:
    """The settings of the algorithms that are named, or of all that suit states; the others are said."""
    if names is not None:
        return {name: config_of(name, seeds, updates, beta) for name in names}
    found = {}
    for name in ALGORITHMS:
        try:
            found[name] = config_of(name, seeds, updates, beta)
        except UserError as error:
            print(f"{name:10} left out: {error}")
    return found


def main() -> None:
    parser = Parser("benchmarks.tiny_mdp", __doc__)
    parser.add_argument("--algorithms", nargs="+", metavar="NAME", help="default: all that suit states")
    parser.add_argument("--seeds", type=int, default=3, help="agents of each algorithm, trained as a stack")
    parser.add_argument("--updates", type=int, default=1000, help="of each agent")
    parser.add_argument("--beta", type=float, default=1.0, help="of the algorithms that leave it open")
    parser.add_argument("--out", type=given_path, metavar="DIR", help="keep result.json and values.png there")
    given: argparse.Namespace = parser.parse_args()
    configs = chosen(given.algorithms, given.seeds, given.updates, given.beta)
    if not configs:
        raise UserError("no algorithm suits states; name one by --algorithms")
    set_precision(CPU, False)
    rows = Rows.collect(seed=0)
    model = fit_model(rows, next(iter(configs.values())))
    rng = np.random.default_rng(0)
    data = float(mdp.true_return(mdp.behaviour(rng), np.repeat(mdp.STARTS, 100)).mean())
    best = float(mdp.true_return(mdp.optimum).mean())
    print(f"discounted returns: data {data:.2f}, optimum {best:.2f}, more than {mdp.LIMIT} slips")
    found: list[Outcome] = []
    for name, config in configs.items():
        started = time.process_time()
        found += (own := outcomes(name, train(config, rows, model), model))
        for one in own:
            print(
                f"{name:10} seed {one.seed}: return {one.achieved:7.2f}, value {one.value:7.2f}, "
                f"overestimated by {one.overestimation:6.2f}, actions up to {one.reach:.2f}"
            )
        print(f"{'':10} {time.process_time() - started:.1f} s of the processor", flush=True)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        result = {"data": data, "optimum": best, "beta": given.beta, "updates": given.updates}
        agents = [{**asdict(one), "overestimation": one.overestimation} for one in found]
        (given.out / "result.json").write_text(json.dumps({**result, "agents": agents}, indent=1))
        (given.out / "values.png").write_bytes(draw(found, data, best))
        print(f"kept in {given.out}")


if __name__ == "__main__":
    run_cli(main)
