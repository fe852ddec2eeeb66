"""Where samples, statistics of real data, and features come from, if from files rather than from entries."""

from __future__ import annotations
