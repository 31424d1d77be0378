"""Noise mechanisms besides DP-SGD: discrete Gaussian, distributed noise, clipping of site updates."""
