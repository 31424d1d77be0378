"""The auditor's tool: it reads books, trusts nobody, and imports neither torch nor flwr nor dp-accounting to start."""
