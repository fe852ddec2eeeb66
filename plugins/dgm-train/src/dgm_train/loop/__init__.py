"""One phase: its steps, optimisers, averaged weights, checkpoints and log."""
