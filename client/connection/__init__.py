"""The site's connection to the coordinator: TLS, Flower messages, retries, and the service that runs it."""
