"""Models for tables, one a file."""
