"""The commands of ``consilium``, a file for each subject; ``server/cli.py`` gathers them."""
