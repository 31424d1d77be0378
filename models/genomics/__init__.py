"""Models for genomics, one in each file."""
