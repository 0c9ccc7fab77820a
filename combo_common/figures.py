"""Figures for people."""


def figure(value: float | None, digits: int = 1, missing: str = "unknown") -> str:
    """A number with so many digits after the point; the word `missing` for None."""
    return missing if value is None else f"{value:.{digits}f}"
