"""The commands of ``consilium-site``, a file for each noun; ``client/cli.py`` gathers them."""
