"""The tasks that models are trained for: loss, scores and figures, one task in each file."""
