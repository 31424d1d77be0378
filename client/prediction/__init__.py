"""Predictions of a released model on any table; no site, label or budget is needed."""
