"""Flower's SuperLink: the process, its gate, its database, and the app that runs a study in it."""
