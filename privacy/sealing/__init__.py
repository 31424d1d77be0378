"""Sealing: how an update leaves a site so that only the sum over the cohort can ever be read.

Told in the order in which it happens:

* :mod:`~privacy.sealing.quantise` turns an update into integers of a few bits;
* :mod:`~privacy.sealing.layout` packs them, and the totals that ride along, into slots;
* :mod:`~privacy.sealing.checks` adds secret fields that only the named cohort's sum satisfies;
* :mod:`~privacy.sealing.masks` hides the slots under masks that cancel over the cohort;
* :mod:`~privacy.sealing.bfv` encrypts them (its parameters and their bounds: :mod:`~privacy.sealing.parameters`);
* :mod:`~privacy.sealing.seal`, :mod:`~privacy.sealing.aggregate` and :mod:`~privacy.sealing.opening` are the
  three steps a protocol sees: a site seals, the coordinator adds, a site opens.

Masks keep a lone update from everyone, encryption keeps the sum from the coordinator, checks keep the sum
honest. Every derived key is in :mod:`~privacy.sealing.derivation`.
"""
