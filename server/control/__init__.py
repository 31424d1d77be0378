"""The operator's API over a Unix socket, and the coordinator process behind it."""
