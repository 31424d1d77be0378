"""Bound epsilon from below by what an attacker achieves: pure rules, without records, models or files.

A study's epsilon is an upper bound, by proof. Here is the other side: an attacker guesses who took part, and a study
in which they guess better than the epsilon allows did not keep it. A bound from below that exceeds the claimed epsilon
shows a defect. One that does not exceed it shows nothing: the attacker may have been weak.

Read in this order: ``binomial``, ``largest_epsilon``, ``one_run``, ``trade_off``, ``many_runs``, ``guesses``.
"""
