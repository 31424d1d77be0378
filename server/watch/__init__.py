"""How a running study is shown: progress and tallies."""
