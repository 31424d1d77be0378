"""Benchmarks: each measures alternatives side by side, in one run on one machine, and prints their ratios."""
