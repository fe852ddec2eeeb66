"""Flow matching: its model, its couplings, its training, and its student."""
