"""Compute a site's part of one global step: the sum of its sampled patients' clipped gradients.

With distributed noise a site does not move the model by itself. The result has no noise yet. It stays in the
process that trains, which rounds it and adds its share of the noise (``privacy/mechanisms/distributed_noise.py``).
"""

from __future__ import annotations

import numpy as np
from torch import nn

from client.training.device import Device
from client.training.device_records import DeviceRecords
from client.training.local_steps import begin_stage, make_engine, require_usable, run_self_test_once
from client.training.study_model import list_trained_ranges, make_model_to_train
from models.parameters.flatten import set_shared_parameters
from models.parameters.vector import Vector
from privacy.dpsgd import Mechanism, sample_patients
from privacy.randomness import KeyStream
from privacy.study import Terms


def compute_global_step(
    start: Vector,
    terms: Terms,
    records: DeviceRecords,
    public_patients: int,
    device: Device,
    stream: KeyStream,
    number: int = 1,
    model: nn.Module | None = None,
) -> Vector:
    """Compute the clipped sum over a fresh sample of the site's patients; (P,).

    Run by a site, after its budget is reserved.

    Args:
        start: (P,) the shared model.
        terms: the study.
        records: the site's training patients, on the device.
        public_patients: the registered, rounded patient count.
        device: where to compute, and in which precision.
        stream: secret randomness.
        number: the round, which decides the stage.
        model: the study's model as it begins; without it, one that needs no public weights is built.

    Raises:
        TermsError: the model cannot be built, or a patient's gradient would not be the one that is clipped.
        DivergedError: the shared model left the numbers that a model can compute with.
    """
    require_usable(start, terms)
    module = make_model_to_train(terms, model).to(device.device)
    run_self_test_once(terms, device.device)
    set_shared_parameters(module, start)
    rate = terms.training.sampling_rate
    # no noise here: the caller rounds the sum first, then adds this site's share
    mechanism = Mechanism(rate, public_patients, terms.privacy.clipping_norm, noise_multiplier=0.0)
    # asked before the stage begins: within it, the layers that it does not train are no parameters
    ranges = list_trained_ranges(module, terms, number)
    with begin_stage(module, terms, number):
        private = make_engine(module, terms, mechanism, stream, device)
        total = private.sum_lot(records, sample_patients(records.patients, rate, stream)).cpu().double().numpy()
    if ranges is None:
        return total  # (P,)
    whole = np.zeros_like(start)
    begin = 0
    for first, last in ranges:
        whole[first:last] = total[begin : begin + last - first]
        begin += last - first
    return whole
