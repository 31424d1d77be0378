"""Privacy accounting: events, Rényi divergence, epsilon, calibration, and accounts of grants."""
