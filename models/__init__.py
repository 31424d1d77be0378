"""The models that a study can train, their parameters, and their figures."""
