"""Policies in their environments, and what a run came to."""
