"""Schedules of learning rates."""

import math


def cosine(progress: float, final: float) -> float:
    """A factor that falls from 1 to `final` on half a cosine while `progress` goes from 0 to 1."""
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
