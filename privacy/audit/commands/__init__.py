"""The commands of ``consilium-audit``, one in each file."""
