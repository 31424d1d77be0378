"""The operator API over a Unix socket, and the coordinator's process that serves it."""
