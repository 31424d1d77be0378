"""Find the layers of a catalogue's model that train with epsilon, but slowly."""

from models.catalogue import find_model
from privacy.dpsgd.grad_sample.registry import list_layers_by_vmap


def list_slow_layers(name: str) -> tuple[str, ...]:
    """List the layers of the model ``name`` (preset ``small``) that are differentiated patient by patient (vmap).

    Raises:
        ModelError: there is no such model.
    """
    entry = find_model(name)
    count = next(each for each in entry.counts if each.preset == "small")
    return list_layers_by_vmap(entry.build(entry.presets["small"], count.sizes, count.outputs))


def format_readiness(slow: tuple[str, ...], layers: int) -> str:
    """Say how a model of so many ``layers`` is ready for epsilon, of which those in ``slow`` are slow."""
    return f"ready, {len(slow)} of {layers} layers by vmap" if slow else "ready"
