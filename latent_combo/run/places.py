"""Where things are in a run's folder: for those who write them, and for those who read them without what that takes."""

SETTINGS = "config.yaml"
WORLD_MODEL = "checkpoints/world_model.pt"
METRICS = "metrics.csv"
HEADER = ("phase", "step", "name", "value")
"""Its columns."""
TENSORBOARD = "tensorboard"
"""The folder of the events."""
CLIPS, PICTURES = "videos", "views"
"""The folders of what is drawn."""
