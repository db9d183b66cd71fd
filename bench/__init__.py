"""Benchmarks: `make bench-<name>` runs the module of that name."""
