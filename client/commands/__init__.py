"""The commands of ``consilium-site``, one file for each noun; ``client/cli.py`` collects them."""
