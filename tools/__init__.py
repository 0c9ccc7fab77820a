"""Commands for people who work on the project: its drawing of imports, and its reference of settings."""
