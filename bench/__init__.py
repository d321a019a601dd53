"""Benchmarks: every operation in every backend, checked before it is timed. See README.md."""
