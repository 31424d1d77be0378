"""A site's part of a round whose unit is the site: its whole update, clipped, or zeros if it was not drawn.

What this returns has no noise yet: it stays in the process that trains, which rounds it and adds its share
(``privacy/mechanisms/distributed_noise.py``).

Rules:

* local steps have no noise and clip nobody: the update is clipped, as one;
* whatever training does, something of the same form leaves: an update that left the finite numbers counts as zero. A
  failure that depends on records would be seen;
* a site that was not drawn trains all the same and throws it away: the time of its answer would tell otherwise.
"""

from __future__ import annotations

import logging

import numpy as np
from torch import nn

from client.training.device import Device
from client.training.device_records import DeviceRecords
from client.training.local_steps import DivergedError, train
from models.parameters.vector import Vector
from privacy.mechanisms.site_clipping import compute_norm_from_joint, is_drawn, make_contribution
from privacy.randomness import KeyStream
from privacy.study import Terms

_log = logging.getLogger(__name__)


def compute_site_update(
    start: Vector,
    terms: Terms,
    records: DeviceRecords,
    public_patients: int,
    device: Device,
    stream: KeyStream,
    number: int,
    joint_norm: float,
    model: nn.Module,
    personal: Vector,
) -> tuple[Vector, Vector]:
    """Run by a site, after its budget is reserved. What it adds to the round's sum, (d,), and its own layers, (Q,).

    Args:
        start: (P,) the shared model.
        terms: the study, whose unit is the site.
        records: the site's training patients, on the device.
        public_patients: the registered, rounded patient count.
        device: where to compute, and in which precision.
        stream: secret randomness.
        number: the round.
        joint_norm: the largest norm of what it adds.
        model: the study's model as it begins.
        personal: (Q,) the site's own layers now.

    Raises:
        TermsError: the model cannot be built.
    """
    counts = is_drawn(terms.cohort.participation, stream)
    try:
        trained = train(
            start, terms, records, public_patients, None, device, stream, number, model=model, personal=personal
        )
        update, personal = trained.update, trained.personal
        _log.info("round %d: %s", number, ", ".join(f"{name} {value:.4g}" for name, value in trained.log.items()))
    except DivergedError as error:
        _log.warning("round %d: this site's update counts as zero: %s", number, error)
        update = np.full_like(start, np.nan)
    adaptive = terms.privacy.adaptive_clipping
    return make_contribution(
        update, compute_norm_from_joint(joint_norm, adaptive), adaptive, counts=counts
    ), personal
