"""What a library says of a file, fit for a line of the user's terminal."""


def reason(error: BaseException) -> str:
    """An error's text on one line, cut short, without what a terminal would take for a command."""
    return printable(" ".join(str(error).split())[:300])


def printable(line: str) -> str:
    """A line without what a terminal would take for a command."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
