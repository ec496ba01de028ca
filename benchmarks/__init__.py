"""Measurements: run as `python -m benchmarks.NAME`; not part of the wheel."""
