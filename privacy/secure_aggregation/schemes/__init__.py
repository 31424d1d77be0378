"""Encryption schemes for sealed updates, one scheme a file."""
