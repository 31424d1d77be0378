"""Encryption schemes for sealed updates, one in each file."""
