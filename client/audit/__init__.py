"""Audit a study's privacy empirically: train once with canaries, guess who took part, and bound epsilon from below.

For public or generated data: sites in memory train by the sites' own code, noise, round, mask, encrypt and open as in a
study; no ledger is asked and no budget is spent. What the guesses prove is in ``privacy/audit/empirical``.

Read in this order: ``canaries``, ``memory_rounds``, ``attack``, ``audit_study``.
"""
