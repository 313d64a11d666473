"""Micro-benchmarks: `make bench-micro`. No sockets; not part of the tests."""
