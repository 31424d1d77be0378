"""The measured promises: each prints ratios of things measured side by side, in one run on one machine."""
