"""`python -m latent_combo.select`: train candidates as one stack, and choose by the paper's offline rule.

It is `train --select true` with a list for every setting of --over, and a table of the candidates at its end; what was
chosen stands in result.json.
"""

import sys

import latent_combo.early  # noqa: F401
from combo_common.cli import run_cli
from combo_common.figures import figure
from latent_combo.agent.selection import RULE
from latent_combo.config import options
from latent_combo.config.command_line import parse
from latent_combo.evaluation.result import Result


def main() -> None:
    """Read the command line, train, choose, and score what was chosen."""
    config, resume = parse(options.select(sys.argv[1:]))
    from latent_combo.train import train  # here: it needs torch, and wrong options do without

    result = train(config, resume)
    print(result.describe(config.out))
    print(table(result))


def table(result: Result) -> str:
    """The candidates in the order of the rule, with what it did not see.

    "Values - returns" says how far the values of held-out pairs lie above the rewards that followed in the data: the
    rule does not see whether values run away, up from rollouts or down by conservatism.
    """
    last = result.evaluations.returns[-1] if result.evaluations.returns else [None] * len(result.agents)
    rows = sorted(zip(result.agents, last, strict=True), key=lambda row: float(row[0].regulariser or 0.0))
    width = max(len(agent.label) for agent, _ in rows)
    head = ("regulariser", "values - returns", "last interim score")
    lines = [f"chosen by {RULE}:", "  ".join([f"{'agent':{width}}", *head])]
    for agent, score in rows:
        rule, over = figure(agent.regulariser, 2), figure(agent.values_minus_returns, missing="none")
        cells = zip((rule, over, figure(score, missing="none")), head, strict=True)
        lines.append("  ".join([f"{agent.label:{width}}", *(f"{cell:>{len(title)}}" for cell, title in cells)]))
    return "\n".join(lines)


if __name__ == "__main__":
    run_cli(main)
