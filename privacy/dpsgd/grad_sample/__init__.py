"""Per-sample gradients, one file for each kind of layer."""
