"""Benchmarks. `make bench` runs them all; each compares within one run, because machines are noisy."""
