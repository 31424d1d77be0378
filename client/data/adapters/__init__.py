"""Readers of data formats, one file for each format."""
