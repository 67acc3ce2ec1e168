"""Runs: what one is, what it is doing, what it left on the disk, the index of all of them, and what kinds there are."""
