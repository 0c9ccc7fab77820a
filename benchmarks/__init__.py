"""Benchmarks: how fast, beside what the machine can do. They print; nothing is asserted."""
