"""The site's connection to the coordinator: TLS, Flower messages, retries, the service that holds it."""
