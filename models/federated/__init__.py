"""How sites' updates move the shared model, and which round's model is released."""
