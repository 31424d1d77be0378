"""From image files to the tensors of a contract of kind ``images``."""
