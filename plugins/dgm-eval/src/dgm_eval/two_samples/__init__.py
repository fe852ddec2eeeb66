"""Metrics of two sets of points, samples and real data, in the space of features, or in their own."""

from __future__ import annotations
