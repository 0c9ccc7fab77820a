"""The simulated tasks: what they are, how they are drawn, and how they are made; and how others are added."""
