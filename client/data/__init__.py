"""A hospital's tables: read, checked against the contract, encoded; its patients and their objections."""
