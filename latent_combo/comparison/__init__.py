"""Comparisons: datasets x algorithms x seeds, each a run of its own, then statistics, tables and pictures."""
