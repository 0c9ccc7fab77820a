"""Gymnasium's ids of environments, such as Hopper-v4, and which of them are one environment."""

import re

NUMBERED = re.compile(r"(.*)-v(\d+)")
OLDER = range(2, 5)
"""Versions of gymnasium's robots that have the same dynamics and rewards."""


def same_environment(one: str, other: str) -> bool:
    """Whether two of Gymnasium's ids are of one environment; versions 2 to 4 are, and letters may be small."""
    return _one_of_its_versions(one) == _one_of_its_versions(other)


def _one_of_its_versions(environment: str) -> tuple[str, int]:
    found = NUMBERED.fullmatch(environment.lower())
    if found is None:
        return environment.lower(), 0
    version = int(found[2])
    return found[1], OLDER[-1] if version in OLDER else version
