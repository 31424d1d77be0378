"""Models for images, one in each file."""
