"""The phases of a run, and a run read back from its folder."""
