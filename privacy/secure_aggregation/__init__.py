"""Secure aggregation: an update leaves a site sealed, and only the sum over the cohort can be opened.

To seal is to mask and encrypt an update. The steps, in their order:

* :mod:`~privacy.secure_aggregation.quantise` turns an update into integers of a few bits;
* :mod:`~privacy.secure_aggregation.layout` packs them, and the totals of an evaluation, into slots;
* :mod:`~privacy.secure_aggregation.check_fields` adds secret fields that only the named cohort's sum satisfies;
* :mod:`~privacy.secure_aggregation.masks` hides the slots under masks that cancel over the cohort;
* :mod:`~privacy.secure_aggregation.schemes.bfv` encrypts them (its parameters and their bounds:
  :mod:`~privacy.secure_aggregation.schemes.bfv_parameters`);
* :mod:`~privacy.secure_aggregation.seal`, :mod:`~privacy.secure_aggregation.aggregate` and
  :mod:`~privacy.secure_aggregation.opening` are the three steps of the protocol: a site seals, the coordinator
  adds, a site opens.

Masks hide a lone update from everyone. Encryption hides the sum from the coordinator. Check fields show whether an
opened sum is the cohort's. Every derived key is in :mod:`~privacy.key_derivation`.

Three sites seal the values 1 and 2, the coordinator adds, and a site opens the sums 3 and 6. In a study the study
key and the pair secrets come from the key epoch, and every seed is random:

>>> import numpy as np
>>> from privacy.secure_aggregation.aggregate import Aggregate
>>> from privacy.secure_aggregation.layout import Layout
>>> from privacy.secure_aggregation.opening import open_aggregate
>>> from privacy.secure_aggregation.schemes.bfv import StudyKey
>>> from privacy.secure_aggregation.seal import seal
>>> layout, study_key = Layout(parameters=2, counts=0, bits=8, maximum_sites=3), StudyKey.generate()
>>> cohort, context = ("east", "north", "west"), b"round 1"
>>> pair_secrets = {site: b"p" * 32 for site in cohort}
>>> seeds = {site: site.ljust(32).encode() for site in cohort}
>>> aggregate = Aggregate(layout)
>>> for site in cohort:
...     sealed = seal(
...         layout, np.array([1, 2], dtype=np.uint32), [], site=site, cohort=cohort, context=context,
...         study_key=study_key, pair_secrets=pair_secrets, own_seed=seeds[site],
...     )
...     aggregate.add(b"".join(sealed))
>>> aggregate.subtract_masks(seeds, context)
>>> opened = open_aggregate(layout, aggregate.to_bytes(), cohort=cohort, context=context, study_key=study_key)
>>> opened.values.tolist()
[3, 6]
"""
