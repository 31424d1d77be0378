"""The site's folder: configuration, keys, peers, registered data, and the lock of the running site."""
