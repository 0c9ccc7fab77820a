"""Adapters: they make tasks of other programs by their names."""
