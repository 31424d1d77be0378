"""The only error of this package: a plain ``ValueError``, so that models need none of our other packages."""


class ModelError(ValueError):
    """A model, its options or its weights cannot be used; the message is one sentence for the study's author."""
