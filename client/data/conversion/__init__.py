"""From a hospital's own data to the tensors of a study's contract: mapping, conversion, snapshot."""
