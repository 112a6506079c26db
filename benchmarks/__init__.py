"""What the library costs, measured against what it could cost at least.

Run with `make bench` or `python -m benchmarks`; docs/explanation/performance.md explains how.
"""
