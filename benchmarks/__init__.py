"""Compares this library with its peers: `make bench`. See README.md beside this file."""
