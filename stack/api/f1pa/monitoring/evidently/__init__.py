"""Evidently reports; named as in F1PA's document."""
