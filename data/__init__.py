"""Datasets: episodes, how they are stored, collected, drawn, and read for training."""
