"""Horizon curves: where a model's predictions end."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from latent_combo.diagnostics.style import BLUE, GREY, ORANGE, VERMILION, finish, new_figure
from latent_combo.world_model.open_loop import MEASURES, OpenLoop


def draw_horizon(predictions: OpenLoop, context: int) -> Figure:
    """Draw a model's errors over the steps ahead, beside those of two baselines."""
    panels = [
        (
            "Observation",
            MEASURES[predictions.measure],
            ".1f" if predictions.measure == "psnr" else ".2g",
            (
                ("model, open loop", predictions.open_loop, BLUE),
                ("copy the last observation", predictions.copy_last, ORANGE),
                ("mean observation", predictions.mean_observation, GREY),
            ),
        ),
        (
            "Vector beside the image",
            MEASURES["nrmse"],
            ".2g",
            (
                ("model, open loop", predictions.vector_open_loop, BLUE),
                ("copy the last vector", predictions.vector_copy_last, ORANGE),
                ("mean vector", predictions.vector_mean, GREY),
            ),
        ),
        (
            "Reward of a step",
            "mean absolute error (lower is better)",
            ".2f",
            (
                ("model, open loop", predictions.reward_mae, BLUE),
                ("copy the last reward", predictions.copy_last_reward_mae, ORANGE),
                ("mean reward", predictions.mean_reward_mae, GREY),
            ),
        ),
        ("Posterior against open-loop prior", "KL, nats", ".0f", (("model", predictions.kl, VERMILION),)),
    ]
    panels = [panel for panel in panels if panel[-1][0][1]]  # the model may be of no vectors, or without posteriors
    figure = new_figure(4.0 * len(panels), 3.8)
    for axes, (title, y, digits, curves) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for label, values, colour in curves:
            _curve(axes, values, label, colour, digits)
        finish(axes, title, f"steps ahead of {context} seen observations", y)
    return figure


def _curve(axes: Axes, values: dict[int, float], label: str, colour: str, digits: str) -> None:
    if not values:
        return
    steps = list(values)
    axes.plot(steps, list(values.values()), color=colour, label=label, marker="o", markersize=4)
    axes.set_xscale("log")
    axes.set_xticks(steps, [str(k) for k in steps])
    axes.set_xticks([], minor=True)
    if steps and label.startswith("model"):
        for k, value in values.items():
            axes.annotate(
                format(value, digits), (k, value), (0, 6), textcoords="offset points", fontsize=8, ha="center"
            )
    axes.margins(x=0.1, y=0.15)
