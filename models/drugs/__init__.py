"""Models for drugs and their targets, one in each file."""
