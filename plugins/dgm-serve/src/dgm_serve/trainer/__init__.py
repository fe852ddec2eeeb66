"""Training that can be watched: short runs of `dgmcore.train` one after the other, in a process of their own."""

from __future__ import annotations
