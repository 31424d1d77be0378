"""Explain the keys of a study file under ``task``."""

from typing import Final

from privacy.study.guide.guidance import Guidance

_LABEL = Guidance(
    "The name of the target, a tensor of numbers in a public range.", "Leave it out for a table: `label`."
)
_LOSS = Guidance(
    "What an error costs in training, in the scale that models see: `squared`, or `huber`, squared up to `delta` and "
    "linear beyond it.",
    "`squared` for a start; `huber` where a few values lie far from all others. Both are clipped with the patient's "
    "gradient, so that `huber` matters less than without privacy.",
)
_DELTA = Guidance(
    "Where `huber` becomes linear, in the scale that models see, in which a range of `scaled: unit` is 1 wide; no "
    "use with "
    "`squared`.",
    "The error that you would still call ordinary: 0.1 is a tenth of the range.",
)
_EVENTS = Guidance("The codes of each visit: flags, visits x codes.")
_PRESENT = Guidance("Which visits a record has: a flag for each visit; the others are padding.")
_LABELS = Guidance(
    "Other codes of the same visits, to be predicted in place of `events`: flags, visits x codes.",
    "Name groups of codes here where single codes are rare: fewer outputs are fewer parameters and less noise.",
)
_TOP = Guidance(
    "Each k of recall at k: the share of a visit's codes among the k with the greatest outputs. The first one "
    "chooses the "
    "best model. A k that is not less than the number of codes says nothing, and is left out.",
    "About as many as a person would look through. Each k is one more histogram: with two, the noise of both is 1.4 "
    "times that of one.",
)

PARTS: Final[dict[str, str]] = {
    "BinaryTerms": "`task` with `kind: binary`: a yes-or-no label.",
    "MulticlassTerms": "`task` with `kind: multiclass`: which of several classes a record belongs to.",
    "OrdinalTerms": "`task` with `kind: ordinal`: which of several classes in order, a grade or a stage.",
    "MultilabelTerms": "`task` with `kind: multilabel`: several labels, each positive or not.",
    "SegmentationTerms": "`task` with `kind: segmentation`: what every pixel or voxel of an image shows.",
    "ReconstructionTerms": "`task` with `kind: reconstruction`: give back an input, as an autoencoder does.",
    "RegressionTerms": "`task` with `kind: regression`: predict one number, or several. Totals of one number have "
    "a cell "
    "for every truth and prediction: with noise, write few `evaluation.bins`, 10 to 20, or most of what is "
    "counted is noise. Several numbers have one for every error, in parts of the range: 1,000 for thousands of genes.",
    "PairsTerms": "`task` with `kind: pairs`: predict a number of a pair, for example the affinity of a drug and a "
    "target. Write few `evaluation.bins`, 10 to 20: the totals have the square of it.",
    "SurvivalTerms": "`task` with `kind: survival`: predict when something happens, and of which cause, in "
    "intervals of "
    "time.",
    "NextEventTerms": "`task` with `kind: next-event`: predict the codes of the next visit.",
    "EmbeddingTerms": "`task` with `kind: embedding`: learn vectors of codes and visits, by predicting the visits "
    "nearby.",
    "StatisticsTerms": "`task` with `kind: statistics`: count what patients are like, and train nothing "
    "([feasibility.md](feasibility.md)). `model`, `training`, `evaluation` and `release` are left out.",
}

KEYS: Final[dict[str, Guidance]] = {
    "BinaryTerms.kind": Guidance("`binary`; left out, it follows from the label of a table."),
    "BinaryTerms.target": Guidance(
        "The name of the target, an id of two values.", "Leave it out for a table: `label`."
    ),
    "BinaryTerms.positive_weight": Guidance(
        "How much a record with a positive label counts; one with a negative label counts 1.",
        "About negatives over positives, from published figures, where few are positive and sensitivity matters. "
        "Scores are no probabilities any more.",
    ),
    "MulticlassTerms.kind": Guidance("Always `multiclass`."),
    "MulticlassTerms.target": Guidance("The class: an id of 2 to 1000 values, one a record."),
    "MulticlassTerms.class_weights": Guidance(
        "How much a record of each class counts in the loss, in the order of the classes; without it each counts 1.",
        "From published figures, more for rare classes, where each class matters as much as the others. Scores "
        "are no "
        "probabilities any more.",
    ),
    "MulticlassTerms.loss": Guidance(
        "`cross_entropy`, or the `margin` loss of capsule networks: each class has a probability of its own, which "
        "should be 0.9 or more for the true class and 0.1 or less for each other one.",
        "`margin` with the model `capsnet`.",
    ),
    "OrdinalTerms.kind": Guidance("Always `ordinal`."),
    "OrdinalTerms.target": Guidance(
        "The class: an id of 2 to 1000 values, one a record.", "List the classes from the lowest to the highest."
    ),
    "MultilabelTerms.kind": Guidance("Always `multilabel`."),
    "MultilabelTerms.target": Guidance("The labels: flags of one axis."),
    "MultilabelTerms.positive_weight": Guidance(
        "How much a positive label counts in the loss; a negative one counts 1.",
        "More than 1 where labels are rare and finding them matters. Scores are no probabilities any more.",
    ),
    "MultilabelTerms.per_label": Guidance(
        "Whether each label's test patients are counted for themselves; if not, only micro figures are known.",
        "`true`. `false` makes totals of many labels small enough to seal; the noise of micro figures is the same.",
    ),
    "SegmentationTerms.kind": Guidance("Always `segmentation`."),
    "SegmentationTerms.target": Guidance(
        "The mask of an image or a volume: flags, or ids of which 0 is background."
    ),
    "SegmentationTerms.overlap_weight": Guidance(
        "How much of the loss is one minus each record's soft Dice; the rest is cross-entropy.",
        "0.3; more where the structure is small.",
    ),
    "SegmentationTerms.ignored": Guidance(
        "The id of voxels that nobody labelled; they count neither in the loss nor in the totals. For ids only."
    ),
    "SegmentationTerms.class_weights": Guidance(
        "How much a voxel of each class counts in the cross-entropy, the background's first; without it each "
        "counts 1.",
        "From published figures, not from counted voxels.",
    ),
    "SegmentationTerms.threshold": Guidance("The least probability of a foreground voxel. For flags only."),
    "ReconstructionTerms.kind": Guidance("Always `reconstruction`."),
    "ReconstructionTerms.target": Guidance("The input that is given back: numbers of any shape."),
    "ReconstructionTerms.mask": Guidance(
        "Flags of the same shape: only values with a raised flag count. Without it all do.",
        "For series with missing values: the tensor that says what was measured.",
    ),
    "ReconstructionTerms.loss": Guidance(
        "`squared` error, or `cross-entropy` of values from 0 to 1, for which the model gives logits."
    ),
    "ReconstructionTerms.worst": Guidance(
        "The largest error that is told from larger ones, in scaled units.",
        "Somewhat above what predicting each value's mean would give, so that the bins lie where models differ.",
    ),
    "RegressionTerms.kind": Guidance("Always `regression`."),
    "RegressionTerms.target": _LABEL,
    "RegressionTerms.loss": _LOSS,
    "RegressionTerms.delta": _DELTA,
    "PairsTerms.kind": Guidance("Always `pairs`."),
    "PairsTerms.target": _LABEL,
    "PairsTerms.loss": _LOSS,
    "PairsTerms.delta": _DELTA,
    "PairsTerms.strong": Guidance(
        "From which value on a pair counts as a strong one, in the target's own units; it adds the average "
        "precision to "
        "the figures. The totals round it to the nearest edge of a bin.",
        "The threshold that the field uses for the target; leave it out if there is none. Larger must mean stronger.",
    ),
    "SurvivalTerms.kind": Guidance("Always `survival`."),
    "SurvivalTerms.time": Guidance(
        "The name of the time until the event or the end of observation, a number.",
        "Leave it out for a table: `time`. End its range a little after the longest observation: what happens at "
        "the end "
        "of the range or later counts as not seen.",
    ),
    "SurvivalTerms.event": Guidance(
        "The name of what happened then, an id: 0 for censored, then the causes.",
        "Leave it out for a table: `event`.",
    ),
    "SurvivalTerms.intervals": Guidance(
        "Into how many intervals of equal width the range of the time is divided.",
        "10 to 20. Each is an output for every cause, and divides the sealed totals further, so that more of them "
        "need "
        "more patients; two events in one interval have no order.",
    ),
    "SurvivalTerms.horizons": Guidance(
        "The times at which predictions are judged, rising, in the units of the time, each between two intervals; "
        "left "
        "out: the quarter points of the range.",
        "One to three that matter to care, such as one and five years. Each is a histogram for every cause, and "
        "the noise "
        "of all grows with the root of their number.",
    ),
    "NextEventTerms.kind": Guidance("Always `next-event`."),
    "NextEventTerms.events": _EVENTS,
    "NextEventTerms.present": _PRESENT,
    "NextEventTerms.labels": _LABELS,
    "NextEventTerms.top": _TOP,
    "NextEventTerms.loss": Guidance(
        "What a next visit costs in training: `softmax`, in which codes compete; or `sigmoid`, each code for itself.",
        "`softmax` for recall; `sigmoid` where you need the probability of a code.",
    ),
    "EmbeddingTerms.kind": Guidance("Always `embedding`."),
    "EmbeddingTerms.events": _EVENTS,
    "EmbeddingTerms.present": _PRESENT,
    "EmbeddingTerms.labels": _LABELS,
    "EmbeddingTerms.top": _TOP,
    "EmbeddingTerms.window": Guidance(
        "How many visits before, and how many after a visit are predicted from it.",
        "1 to 5, as far as visits have to do with each other.",
    ),
    "StatisticsTerms.kind": Guidance("Always `statistics`."),
    "StatisticsTerms.columns": Guidance(
        "What is counted: columns of a table, tensors of arrays; left out: all of them.",
        "Those that decide whether the study is worth while. Noise in a count grows with the root of the number of "
        "columns, twice for numbers.",
    ),
    "StatisticsTerms.bins": Guidance(
        "Into how many equal bins the public range of a number is divided.",
        "10. Each bin has the same noise, however many there are: fewer bins hold more patients each.",
    ),
    "StatisticsTerms.pairs": Guidance(
        "Pairs of counted columns whose correlation is wanted: numbers, or columns of two words, never missing.",
        "Few. The sums of a pair have 2.4 times the noise of a count.",
    ),
    "StatisticsTerms.differences": Guidance(
        "Counted columns of which it is wanted how much of their spread is between sites; as for `pairs`. The least "
        "cohort must be three sites more than `colluders`.",
        "One or two. The noise is 3 times that of a count, so that a thousand patients hardly show a difference.",
    ),
}
