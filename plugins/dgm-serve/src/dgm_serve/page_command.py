"""`dgm page`."""
