"""Models of health records: measurements during a stay, and the codes of visits."""
