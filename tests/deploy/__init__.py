"""How a federation is run: the gateway, proxies, containers, services and clusters."""
