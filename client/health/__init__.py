"""The checks of a site: each looks at one thing, changes nothing, and says the next step."""
