"""The site's ledger as people read it: entries in words, summaries, and what a recovery would cost."""
