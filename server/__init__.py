"""The coordinator: studies, results, the SuperLink, the federation's folder, and commands."""
