"""Compute gradients by differentially private SGD whose unit is the patient.

>>> import torch
>>> from privacy.dpsgd import DpSgd, Mechanism, TensorRecords
>>> from privacy.randomness import from_os
>>> records = TensorRecords(torch.rand(4, 5), torch.ones(4), patient=torch.tensor([0, 0, 1, 2]))
>>> def squared_error(outputs, targets):  # of each record
...     return (outputs[:, 0] - targets).square()
>>> mechanism = Mechanism(sampling_rate=0.5, public_patients=10, clipping_norm=1.0, noise_multiplier=1.1)
>>> engine = DpSgd(torch.nn.Linear(5, 1), squared_error, mechanism, from_os())
>>> engine.compute_gradient(records).shape  # five weights and a bias, with noise
torch.Size([6])

In a step every patient enters the lot with probability q, independently. The gradients of a patient's records are
averaged into one, which is scaled down to norm C over all parameters together. The sum over the lot gets Gaussian
noise of standard deviation sigma * C in every coordinate. The result is divided by the expected lot.

Sources: Abadi et al. 2016, "Deep learning with differential privacy"; McMahan et al. 2018, "Learning differentially
private recurrent language models", for whole persons instead of records.

**Guarantee.** One step is the Poisson-sampled Gaussian mechanism with sampling rate q and noise multiplier sigma; T
steps are its T-fold composition, for any starting point and learning rate.

**Privacy unit.** The patient with all records; neighbouring data sets differ by one patient added or removed.

========================================  ==========================================================================
edge case                                 what happens
========================================  ==========================================================================
no patient is drawn (empty lot)           the result is the noise alone
a patient with several records            their mean gradient is clipped, so one patient moves the sum by at most C
a gradient that is not finite             that patient counts as zero; the others are not affected
a lot larger or smaller than expected     divided by the expected lot, which is public, all the same
a lot that does not fit in memory         summed in batches of whole patients, always to the same sum
a patient who does not fit in memory      summed in parts, then clipped
memory that runs out                      smaller batches, the same lot again from the same seed; never another lot
dropout, other randomness of the module,  drawn from generators that the secret stream seeds, once a lot; the
and of the augmentation                   guarantee then rests on 63 bits that nobody can guess (``torch_randomness``)
several views of a record                 a patient's gradient is the mean over records and views, then clipped
a record of several tensors               the module and the loss get them by name; everything else is the same
a layer that mixes records                refused by name (:func:`check_module`)
a weight used outside its layer, a loss   refused before a study starts, by name (:func:`run_self_test`)
or a layer that looks at several records
rounding while clipping                   clipping aims at C (1 - 1e-4), a hundred times what float32 loses
numbers at the ends of float32, and rows  norm and sum in float64: a norm is never smaller than what is added
of a patient that cancel
a gradient that the model changes in      refused: its norm is taken while backward runs, and what is added later must
place while backward runs                 be the same numbers
noise                                     drawn by other threads while the gradients are computed, added in float64 and
                                          rounded once: the same to the bit for any number of threads
a sum longer than its patients allow      impossible, but checked; then the lot is summed again patient by patient,
                                          and only the site's log says so
rounding inside a float32 module and in   the others in a batch can change the last bits (1e-7 of the sum), which
the sum                                   the guarantee does not cover; a float64 module has margin for it
no privacy (``clipping_norm`` is None)    no clipping and no noise; everything else is the same
a frozen parameter                        neither computed nor counted
a filter for each patient                 everybody in every step, who cannot pay times 0: another guarantee
                                          (``privacy.accounting.individual_filter``)
lots in a fixed order                     no sampling: another guarantee (``fixed_order``)
========================================  ==========================================================================

How long a step takes, how large the lot was and in how many batches it was summed depend on secrets and stay at the
site.

Read in this order: ``records``, ``named_tensors``, ``engine``, ``mechanism``, ``torch_randomness``, ``batching``,
``ghost_clipping``, ``activations``, ``record_axes``, ``grad_sample/registry``, ``grad_sample/patient_gradients``,
``grad_sample/outer_products``, ``grad_sample/convolution``, ``grad_sample/fallback``, ``norms``; then
``layer_checks``, ``example``, ``self_test``, ``opacus_reference``, ``fixed_order``.
"""

from privacy.dpsgd.engine import Augment, DpSgd, PatientFilter
from privacy.dpsgd.example import Example, Spec
from privacy.dpsgd.fixed_order import OrderedSteps, StepNoise, assign_lots
from privacy.dpsgd.ghost_clipping import CLIP_MARGIN
from privacy.dpsgd.layer_checks import check_module
from privacy.dpsgd.loss import Loss
from privacy.dpsgd.mechanism import Mechanism, add_noise, sample_patients
from privacy.dpsgd.named_tensors import Inputs, Targets
from privacy.dpsgd.records import Records, TensorRecords
from privacy.dpsgd.self_test import run_self_test

__all__ = [
    "CLIP_MARGIN",
    "Augment",
    "DpSgd",
    "Example",
    "Inputs",
    "Loss",
    "Mechanism",
    "OrderedSteps",
    "PatientFilter",
    "Records",
    "Spec",
    "StepNoise",
    "Targets",
    "TensorRecords",
    "add_noise",
    "assign_lots",
    "check_module",
    "run_self_test",
    "sample_patients",
]
