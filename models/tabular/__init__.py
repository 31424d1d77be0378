"""Models for tables, one in each file."""
