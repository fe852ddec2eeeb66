"""One phase of a training: `run` is its loop, `state` what it changes; the other modules are what they use."""
