"""One study at a site, from admission to release, round by round."""
