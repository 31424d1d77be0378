"""Compute a site's part of a round whose unit is the site: its whole update, clipped, or zeros if not drawn.

The result has no noise yet. It stays in the process that trains, which rounds it and adds its share of the noise
(``privacy/mechanisms/distributed_noise.py``).

Rules:

* local steps have no noise and clip no patient: the update is clipped, as one;
* whatever happens in training, the result has the same form: an update that is not finite counts as zero. A failure
  that depends on records would be visible;
* a site that was not drawn trains all the same and discards the update: otherwise the time of its answer would show
  that it was not drawn.
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
    """Compute what the site adds to the round's sum, (d,), and its personal layers afterwards, (Q,).

    Run by a site, after its budget is reserved.

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
        personal: (Q,) the site's personal layers now.

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
        update = np.full_like(start, np.nan)  # make_contribution counts what is not finite as zero
    adaptive = terms.privacy.adaptive_clipping
    return make_contribution(
        update, compute_norm_from_joint(joint_norm, adaptive), adaptive, counts=counts
    ), personal
