"""The coordinator's side, in the order it happens."""
