"""Denoising diffusion GAN (Xiao, Kreis, Vahdat, 2022; thesis chapter 6)."""
