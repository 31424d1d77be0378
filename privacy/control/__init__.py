"""The control plane between people, sites and the coordinator: its calls, who may make them, its channel."""
