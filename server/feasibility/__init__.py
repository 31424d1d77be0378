"""Derive studies of statistics from other studies, and show what they have found."""
