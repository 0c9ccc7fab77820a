"""A run's bookkeeping: folder, checkpoints, metrics, pictures, clocks, speed; nothing here knows of models."""
