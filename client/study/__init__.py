"""One study at a site: admission to release, round by round."""
