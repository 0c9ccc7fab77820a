"""Figures for people."""

UNKNOWN = "unknown"


def figure(value: float | None, digits: int = 1) -> str:
    """A number with so many digits after the point; "unknown" for None."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"
