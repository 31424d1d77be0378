"""A hospital's files: read, checked against the contract, made tensors; its patients and their objections."""
