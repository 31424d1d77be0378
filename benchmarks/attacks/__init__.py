"""Published attacks against this platform's own messages: ``python -m benchmarks.attacks NAME``.

Every attack runs on generated records, once with privacy and sealing off and once with each of them on, and prints what
the attacker got. ``docs/attacks.md`` shows the results.
"""
