"""The demonstration: four hospitals on one machine, with the real programs."""
