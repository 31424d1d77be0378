"""What a coordinator may know of a study's results: documents, how they are read, as text."""
