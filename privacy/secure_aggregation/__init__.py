"""Sealing: how an update leaves a site so that only the sum over the cohort can ever be read.

Told in the order in which it happens:

* :mod:`~privacy.secure_aggregation.quantise` turns an update into integers of a few bits;
* :mod:`~privacy.secure_aggregation.layout` packs them, and the totals that ride along, into slots;
* :mod:`~privacy.secure_aggregation.check_fields` adds secret fields that only the named cohort's sum satisfies;
* :mod:`~privacy.secure_aggregation.masks` hides the slots under masks that cancel over the cohort;
* :mod:`~privacy.secure_aggregation.schemes.bfv` encrypts them (its parameters and their bounds:
  :mod:`~privacy.secure_aggregation.schemes.bfv_parameters`);
* :mod:`~privacy.secure_aggregation.seal`, :mod:`~privacy.secure_aggregation.aggregate` and
  :mod:`~privacy.secure_aggregation.opening` are the three steps a protocol sees: a site seals, the coordinator
  adds, a site opens.

Masks keep a lone update from everyone, encryption keeps the sum from the coordinator, checks keep the sum
honest. Every derived key is in :mod:`~privacy.key_derivation`.
"""
