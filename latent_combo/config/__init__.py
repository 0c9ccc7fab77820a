"""The settings of a run: dataclasses composed, presets, what the paper sets, and the command line."""
