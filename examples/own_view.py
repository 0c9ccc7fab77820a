"""Add a view of your own to those of a run: `python own_view.py runs/hopper` draws all, and yours in the report.

It is one function, and one line above it. A script that trains draws it, too, if it imports this file.
"""

import torch
from matplotlib.figure import Figure

import latent_combo
from latent_combo.world_model.base import Segment, WorldModel


@latent_combo.view("Rewards, one step ahead", "Points on the line are rewards that the model foresaw.")
def foreseen_rewards(model: WorldModel, held_out: Segment) -> Figure:
    """Draw recorded rewards of held-out segments (B, L) against those that the model predicts from the step before."""
    with torch.no_grad():
        feature = model.encode(held_out.observation[:, :-1], held_out.action[:, :-1], None)[:, -1]
        following = model.predict_per_member(feature.expand(model.members, -1, -1), held_out.action[:, -1])
    recorded, predicted = held_out.reward[:, -1].cpu(), following.reward.mean(0).cpu()
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="recorded", ylabel="predicted")
    axes.scatter(recorded, predicted, s=8)
    axes.axline((float(recorded.mean()), float(recorded.mean())), slope=1, color="grey")
    return figure


if __name__ == "__main__":
    from latent_combo.visualise import main

    main()
