"""Show the progress of a running study."""
