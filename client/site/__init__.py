"""The site's folder: configuration, keys, peers, registered data, and what runs in it."""
