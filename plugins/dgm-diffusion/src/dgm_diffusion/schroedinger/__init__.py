"""Diffusion Schroedinger bridges: the chain, its models, its training, and Sinkhorn's algorithm as reference."""
