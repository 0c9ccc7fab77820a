"""Checks of the numbers in a config: a bad one is refused by name before anything runs."""


def require_positive(config: object, *names: str) -> None:
    """Raise ValueError naming the first of the fields that is not more than 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} is {value}; it is more than 0")


def require_not_negative(config: object, *names: str) -> None:
    """Raise ValueError naming the first of the fields that is below 0."""
    for name in names:
        value = getattr(config, name)
        if not value >= 0:
            raise ValueError(f"{name} is {value}; it is 0 or more")


def require_share(config: object, *names: str) -> None:
    """Raise ValueError naming the first of the fields that lies outside of [0, 1]."""
    for name in names:
        value = getattr(config, name)
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; it lies in [0, 1]")
