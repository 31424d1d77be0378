"""Flower's SuperLink: its process, its gate, its database, and the server app that runs a study."""
