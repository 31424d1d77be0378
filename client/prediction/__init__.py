"""Predictions of a released model on any table or arrays; no site, label or budget is needed."""
