"""The auditor's tool: it reads ledgers and trusts nobody; it starts without torch, flwr or dp-accounting."""
