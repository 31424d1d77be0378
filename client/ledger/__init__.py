"""The site's ledger as people read it: entries in words, summaries, what a recovery would do."""
