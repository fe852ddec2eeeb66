"""Metrics, by what they look at."""
