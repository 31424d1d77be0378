"""How the mean update changes the shared model, and which round's model is released."""
