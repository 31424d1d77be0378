"""Audit a study's privacy empirically: train once with canaries, guess who took part, and bound epsilon from below.

For public or generated data, and for a site's own where its people have decided so and it is paid. Sites in memory
train by the sites' own code: they noise, round, mask, encrypt and open as in a study. What the guesses prove is in
``privacy/audit/empirical``.

Read in this order: ``canaries``, ``memory_rounds``, ``attack``, ``audit_study``, ``own_data``.
"""
