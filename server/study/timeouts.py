"""How long the coordinator waits, and for what."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait, and how often a site's absence may cost everybody a round."""

    join_s: float = 120.0
    """For sites to join, to wrap keys, to close."""
    seal_s: float = 3600.0
    """To train and seal, or to open."""
    release_s: float = 900.0
    """To release: a site that restarts meanwhile comes back and does. Then the round is void."""
    offline_s: float = 60.0
    """For a site that is offline, unless its release is awaited."""
    wait_s: float = 7 * 86_400.0
    """For sites that are away, while fewer than the terms' minimum are here. Then the study stops."""
    ask_again_s: float = 15.0
    """Between two askings of the same question, at first."""
    forgiven_voids: int = 2
    """So many rounds a site may make void by its absence; with the next one it is out."""
