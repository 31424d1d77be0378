"""The part ``data`` of the terms, the data contract: columns, labels, ranges."""
