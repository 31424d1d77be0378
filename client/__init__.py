"""A hospital's side, in the order it happens."""
