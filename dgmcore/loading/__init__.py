"""From an entry to a model and back: building, loading and saving, and the weights on the way."""
