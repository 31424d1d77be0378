"""A released model on somebody's own table; needs no site, no label and no budget."""
