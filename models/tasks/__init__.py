"""What a model is trained for: loss, scores and figures, one task a file."""
