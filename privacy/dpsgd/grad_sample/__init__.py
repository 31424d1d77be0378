"""Per-sample gradients of each kind of layer, one kind a file."""
