"""The one error of this package, a plain ``ValueError`` so that models depend on nothing of ours."""


class ModelError(ValueError):
    """A model that is not in the catalogue, or options it does not understand; one sentence for the author."""
