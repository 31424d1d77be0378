"""A hospital's tables: read, checked against the contract, encoded; patients and their objections."""
