"""Everything that is drawn: predictions, values, curves."""
