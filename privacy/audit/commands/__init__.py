"""The commands of ``consilium-audit``, one a file."""
