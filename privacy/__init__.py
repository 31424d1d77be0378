"""Privacy: what may leave a site, in which form, and what it costs of a patient's budget."""
