"""A study's results as the coordinator may know them: the documents, reading them, and writing them as text."""
