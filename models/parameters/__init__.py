"""A model's parameters: which are trained, as one vector, in a file, from public weights."""
