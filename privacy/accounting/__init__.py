"""What is spent: events, Rényi accounting, epsilon, calibration, accounts of grants."""
