"""The part ``task`` of the terms: what is predicted, and what a test patient adds to the sealed totals."""
