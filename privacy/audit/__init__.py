"""The auditor's program: it verifies ledgers without trusting the site or the coordinator.

It starts without torch, flwr or dp-accounting.
"""
