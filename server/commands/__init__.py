"""The commands of ``consilium``, one file for each subject; ``server/cli.py`` collects them."""
