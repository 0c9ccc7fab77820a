"""The long counts: run in groups, noted in a file that is kept, and told in docs/reliability.md."""
