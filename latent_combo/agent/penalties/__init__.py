"""Penalties of the model's transitions, a file for each algorithm that has one."""
