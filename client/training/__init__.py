"""Training and scoring on a device, in a child process that holds the records."""
