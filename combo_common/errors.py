"""Errors for the person at the keyboard."""


class UserError(Exception):
    """Something that the user can mend; its message is one line that names the thing and the remedy."""


class StoppedError(UserError):
    """The user has stopped a command, which has saved its work; the message says how to continue."""
