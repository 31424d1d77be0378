"""Noise mechanisms besides DP-SGD: discrete Gaussian, distributed noise, and clipping of sites' updates."""
