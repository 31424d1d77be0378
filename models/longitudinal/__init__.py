"""Models of patients who are followed over years."""
