"""The data contract: columns, labels, ranges."""
