"""The coordinator's timeouts for sites."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait, and how many rounds a site's absence may make void."""

    join_s: float = 120.0
    """For sites to join, to wrap keys, to close."""
    seal_s: float = 3600.0
    """To train and seal, or to open."""
    release_s: float = 900.0
    """To release; a site that restarts meanwhile can still release. After this time the round is void."""
    offline_s: float = 60.0
    """For an offline site to come back, unless its release is awaited."""
    wait_s: float = 7 * 86_400.0
    """For absent sites, while fewer than the terms' minimum are here. After this time the study stops."""
    approval_s: float = 14 * 86_400.0
    """For the people of sites to decide whether they admit the study. After this time the study stops."""
    ask_again_s: float = 15.0
    """Between the first two times that a question is asked; the back-off factor makes it longer."""
    forgiven_voids: int = 2
    """Number of rounds that a site may make void by its absence; with the next one it is out."""
