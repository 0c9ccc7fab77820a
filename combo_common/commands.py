"""Command lines of this program, to be copied into a shell."""

import shlex


def command(name: str, *arguments: object) -> str:
    """`python -m latent_combo.NAME ARGUMENTS`, quoted where a shell needs it."""
    return f"python -m latent_combo.{name} {shlex.join(map(str, arguments))}"
