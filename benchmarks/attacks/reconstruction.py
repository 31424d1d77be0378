"""Reconstruct the last unknown patient from an opened sum, knowing everybody else: the informed adversary.

The adversary has the records of all patients but one, of all sites, and sees what its role sees. Without noise and
with every patient in the lot it computes what all others added, takes it off, and is left with one patient's gradient.
A dense layer's gradient divided by that of its bias is the patient's record. That is exactly whom differential privacy
is about; sealing does not help against somebody who has all other records.

Source: Balle, Cherubin and Hayes 2022, "Reconstructing training data with informed adversaries" (arXiv 2201.04845),
with one round in place of a trained model; Phong et al. 2018 for the division.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.attacks.inversion import (
    SIDE,
    Image,
    Inversion,
    Inverted,
    compute_psnr,
    draw_images,
    run_division,
    write_study,
)
from benchmarks.attacks.views import PROTECTIONS, VICTIM, Party, Protection, ShownRound, protect
from client.audit.canaries import SiteRecords, read_as_trained
from client.audit.memory_rounds import read_total_of_update
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.local_steps import make_loss
from client.training.study_model import build_model
from models.generated.records import generate_records
from models.parameters.flatten import set_shared_parameters
from privacy.dpsgd import DpSgd, Mechanism
from privacy.randomness import KeyStream
from privacy.study import Terms

_PATIENTS = 20  # of each site


def reconstruct(
    parties: Sequence[Party] = tuple(Party),
    protections: Sequence[Protection] = PROTECTIONS,
    stream: KeyStream | None = None,
) -> tuple[Image, list[Inverted]]:
    """Return the unknown patient's image, and what each party got of it."""
    study, found, image = write_study("mlp"), list[Inverted](), np.empty(0)
    for protection in protections:
        terms = protect(study, protection)
        sites = {name: _make_records(terms, seed) for seed, name in enumerate((VICTIM, "birch", "cedar"), start=40)}
        features = sites[VICTIM].arrays["features"]
        image = features[0].astype(np.float64).reshape(SIDE, SIDE)
        shown = ShownRound(terms, sites, _PATIENTS, stream)
        known = {name: _sum_gradients(terms, shown, records, name == VICTIM) for name, records in sites.items()}
        for party in parties:
            names = _list_seen(party, terms, protection, tuple(sites))
            total = read_total_of_update(terms, 1, shown.look(party), _PATIENTS) * len(names)
            left = total - np.sum([known[name] for name in names], axis=0)
            got = run_division(Inversion.of_study(terms, shown.seen.model, left), 1, 1)
            found.append(Inverted(party, protection, got, compute_psnr(got, image)))
    return image, found


def _list_seen(party: Party, terms: Terms, protection: Protection, names: tuple[str, ...]) -> tuple[str, ...]:
    """List the sites whose updates are in what ``party`` sees."""
    if party is Party.COORDINATOR or (party is Party.BOTH and not protection.sealing):
        return (VICTIM,)
    return tuple(name for name in names if name != names[1]) if party is Party.BOTH else names


def _make_records(terms: Terms, seed: int) -> SiteRecords:
    arrays = dict(generate_records(terms.data, _PATIENTS, seed).arrays)
    arrays["features"] = draw_images(_PATIENTS, seed).reshape(_PATIENTS, -1)
    return SiteRecords(arrays, np.arange(_PATIENTS, dtype=np.int64))


def _sum_gradients(terms: Terms, shown: ShownRound, records: SiteRecords, but_first: bool) -> Image:
    """Sum the gradients of a site's patients, without the first one where that is the unknown; (P,)."""
    module = build_model(terms)
    set_shared_parameters(module, shown.seen.model)
    norm = terms.privacy.clipping_norm
    engine = DpSgd(
        module,
        make_loss(terms),
        Mechanism(1.0, 1, norm, None if norm is None else 0.0),
        KeyStream(bytes(32)),
    )
    read = DeviceRecords(read_as_trained(terms, records), terms, CPU.device)
    total: Image = engine.sum_lot(read, np.arange(int(but_first), read.patients)).double().numpy()
    return total
