"""Five skewed hospitals of generated images, for tests of what privacy systems leave of a model."""

import numpy as np
import torch

from benchmarks.privacy_systems_studies import (
    Federation,
    Hospital,
    deal_patients,
    make_federation,
    make_image_network,
)


def make_generated_federation(seed: int) -> Federation:
    """Make hospitals of 100 patients each and 300 to test on; a class is brighter in the upper half."""
    random = np.random.default_rng(seed)
    labels = (np.arange(900) % 2).astype(np.float32)
    images = 0.6 * random.standard_normal((900, 1, 8, 8)).astype(np.float32)
    images[:, 0, :4] += 0.5 * (2 * labels - 1)[:, None, None]
    hospitals = deal_patients(images[:600], labels[:600], 100, seed)
    torch.manual_seed(seed)
    return make_federation(hospitals, Hospital(images[600:], labels[600:]), make_image_network(8), rate=0.1)
