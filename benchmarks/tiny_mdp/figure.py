"""Values against true returns, an algorithm a colour and an agent a point."""

from collections.abc import Sequence

from benchmarks.tiny_mdp.training import Outcome
from latent_combo.diagnostics.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, finish, new_figure, to_png

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
MARKS = "osD^vP"


def draw(found: Sequence[Outcome], data: float, best: float) -> bytes:
    """A PNG: on the diagonal values are right, above it too high; the right side enlarges what is around the data."""
    figure = new_figure(9.0, 5.0)
    whole, near = figure.subplots(1, 2)
    names = list(dict.fromkeys(outcome.algorithm for outcome in found))
    low = min([data, *(min(outcome.achieved, outcome.value) for outcome in found)])
    for axes, least, most in ((whole, low - 3.0, 0.0), (near, 1.4 * data - 0.4 * best, 1.1 * best - 0.1 * data)):
        axes.plot([least, most], [least, most], color=GREY, linewidth=1.0)
        for place, text in ((data, "data"), (best, "optimum")):
            axes.axvline(place, color=GREY, linewidth=1.0, linestyle=":")
            axes.annotate(
                text,
                (place, 0.02),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="right",
                va="bottom",
                color=GREY,
            )
        for number, name in enumerate(names):
            own = [outcome for outcome in found if outcome.algorithm == name]
            axes.scatter(
                [outcome.achieved for outcome in own], [outcome.value for outcome in own], s=36, alpha=0.8,
                color=COLOURS[number % len(COLOURS)], marker=MARKS[(number // len(COLOURS) + number) % len(MARKS)],
                label=name if axes is whole else None, edgecolors="none",
            )  # fmt: skip
        axes.set_xlim(least, most)
        axes.set_ylim(least, most)
    finish(whole, "all", "true return of the policy", "its value Q(s, pi(s))")
    finish(near, "around the data's return", "true return of the policy", "")
    whole.get_legend().remove()
    figure.legend(loc="outside lower center", ncols=min(8, len(names)), frameon=False, fontsize="small")
    return to_png(figure)
