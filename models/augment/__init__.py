"""Variation of records in training, one kind of change in each file."""
