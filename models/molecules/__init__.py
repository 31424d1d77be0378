"""Molecules that a policy builds for a disease: from public knowledge and a released model, never from records."""
