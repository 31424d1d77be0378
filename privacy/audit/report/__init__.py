"""The auditor's page: a ledger's history as HTML."""
