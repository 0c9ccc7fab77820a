"""The candidates of `latent_combo.select`: every combination of some settings' values, as the lists of a stack."""

from combo_common.errors import UserError
from combo_common.suggest import did_you_mean, nearest
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.agent.selection import products
from latent_combo.agent.settings import PER_AGENT

OVER = "--over"
USUAL = "beta=0.5,1,5"
"""The values of beta that the paper chooses from (B.2)."""
PREFIX = "agent."
HELP = f"""usage: latent-combo select [{OVER} NAME=VALUE,VALUE,...]... [SETTINGS OF train]

Train every combination of the values of --over as one stack of agents over one world model, and choose one by the
paper's offline rule, which sees no score: the lowest regulariser at the end of training (section 3, B.2). The final
score is of that agent alone; result.json says which it is (`selected`), and the regularisers of all.

  {OVER} NAME=VALUE,...   a setting of the agent and its values (default: {USUAL}); given again, all combinations are
                         trained. NAME is one of {", ".join(PER_AGENT)}

All settings of `latent-combo train` may follow (latent-combo train --help). Without --over, `latent-combo train
--select true --agent.beta "[0.5,1,5]"` does the same. A stopped run goes on with `latent-combo train --resume RUN`."""


def with_candidates(arguments: list[str]) -> list[str]:
    """The command line of `train` that a command line of `select` stands for.

    Raises UserError for an --over that names no such setting or no two values, or a setting twice, and for options that
    it would silently replace.
    """
    over, rest = list[str](), list[str]()
    words = iter(arguments)
    for word in words:
        if word == OVER:
            over.append(next(words, ""))
        elif word.startswith(f"{OVER}="):
            over.append(word.removeprefix(f"{OVER}="))
        else:
            rest.append(word)
    grid = [_setting(each) for each in over or [USUAL]]
    names = [name for name, _ in grid]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{OVER} names {twice[0]} twice; give all of its values at once")
    given = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in rest if word.startswith("--")}
    if "resume" in given:
        raise UserError("select begins a run; a stopped one goes on with latent-combo train --resume RUN")
    if "select" in given:
        raise UserError("--select is what this command is for; leave it out")
    if twice := [name for name in names if PREFIX + name in given]:
        over_that = f"{OVER} {twice[0]}=VALUE,VALUE"
        raise UserError(f"--{PREFIX}{twice[0]} would be replaced by the candidates' values; give it as {over_that}")
    _require_free(names, rest)
    if not over and f"{PREFIX}scale_beta" not in given:
        rest = [f"--{PREFIX}scale_beta=false", *rest]  # the paper's values are in units of the rewards
    every = products(grid)
    lists = [f"--{PREFIX}{name}=[{','.join(values)}]" for name, values in every.items()]
    count = len(every[names[0]])  # of the preset's there may be more, or fewer
    return [f"--{PREFIX}num_agents={count}", *rest, *lists, "--select=true"]


def _require_free(names: list[str], rest: list[str]) -> None:
    """Raise UserError where the named algorithm leaves no choice of a setting."""
    word = "--algorithm"
    said = [
        given.partition("=")[2] or following
        for given, following in zip(rest, [*rest[1:], ""], strict=False)
        if given.partition("=")[0] == word
    ]
    algorithm = ALGORITHMS.get(said[-1]) if said else None
    for name in names:
        if algorithm is not None and name in algorithm.settings:
            raise UserError(
                f"{algorithm.name} has {PREFIX}{name} {algorithm.settings[name]}, and no other to choose from; name "
                f"another setting by {OVER}, or another algorithm"
            )


def _setting(text: str) -> tuple[str, list[str]]:
    """The name and the values of `beta=0.5,5` or `agent.beta=0.5,5`."""
    if not text or text.startswith("--"):
        raise UserError(f"{OVER} has no setting; it is {OVER} NAME=VALUE,VALUE, as in {OVER} {USUAL}")
    name, _, said = text.partition("=")
    name = name.strip().replace("-", "_").removeprefix(PREFIX)
    if name not in PER_AGENT:
        known = f"it is one of {', '.join(PER_AGENT)}{did_you_mean(nearest(name, PER_AGENT))}"
        raise UserError(f"{OVER} names {name!r}, in which agents of a stack do not differ; {known}")
    values = [value.strip() for value in said.strip("[] ").split(",") if value.strip()]
    if len(values) < 2:
        raise UserError(f"{OVER} {text} gives {len(values)} values; a choice needs two, as in {OVER} {name}=0.5,5")
    if twice := [value for value in values if values.count(value) > 1]:
        raise UserError(f"{OVER} {text} names {twice[0]} twice; agents that are alike leave nothing to choose")
    return name, values
