"""What the page shows: the views of a model and their controls, and of an answer how to get the same elsewhere."""

from __future__ import annotations
