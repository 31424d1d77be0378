"""The checks of a coordinator, or of a profile at another machine: each changes nothing and says the next step."""
