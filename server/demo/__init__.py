"""The demonstration: several hospitals on one machine, with the real programs."""
