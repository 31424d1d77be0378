"""Say in words what a release's contract says: what is predicted, what data it takes, what it is not for."""

from collections.abc import Iterator

from client.prediction.columns import FEATURES, find_label, list_columns
from client.prediction.release_contract import ReleaseContract
from client.study.card_document import ModelCard
from privacy.study import BinaryLabel, Category, Date, Number, Text
from privacy.study.data.contract import DataContract
from privacy.study.data.labels import ClassLabel, NumberLabel, SeveralLabels, SurvivalLabel
from privacy.study.data.tensors import Numbers, describe_tensor

Row = tuple[str, str]


def describe_task(contract: ReleaseContract) -> str:
    """Describe what the model predicts of a patient."""
    label = find_label(contract.data)
    match label:
        case BinaryLabel():
            return f"whether {label.name} is {label.positive[0]} (and not {label.negative[0]}), as a probability"
        case ClassLabel():
            return f"which of {', '.join(words[0] for words in label.classes)} {label.name} is"
        case NumberLabel():
            return f"{label.name}, a number from {label.low:g} to {label.high:g}"
        case SeveralLabels():
            return f"for each of {', '.join(each.name for each in label.columns)} whether it is so"
        case SurvivalLabel():
            causes = ", ".join(words[0] for words in label.causes)
            return f"how likely {causes} comes before certain times, up to {label.longest:g} of {label.time}"
    targets = ", ".join(contract.task.list_targets())
    return f"{targets} (task: {contract.task.kind})"


def describe_data(contract: DataContract) -> tuple[tuple[Row, ...], list[Row]]:
    """Describe the data: some facts, and a row for each column or array."""
    facts: tuple[Row, ...] = (
        ("Population", contract.name),
        ("Where the ranges come from", contract.ranges_from),
        ("Records of a patient", f"the first {contract.records_per_patient}, at most"),
    )
    if missing := getattr(contract, "missing", ()):
        words = ", ".join(f"“{word}”" if word else "nothing" for word in missing)
        facts = (*facts, ("A missing value is written as", words))
    return facts, [*_describe_columns(contract), *_describe_arrays(contract)]


def list_limits(contract: ReleaseContract, card: ModelCard | None) -> list[str]:
    """List what the model is not good for."""
    limits = [
        "It was made for research and has not been tested as a medical device. Nobody should be treated because of it.",
        "It learned from other patients than these, in other hospitals too. Patients whose numbers lie beyond the "
        "ranges above, or of whom much is missing, are not those that it knows.",
        "It shows what goes together in the data of the study. It does not show what makes people ill or well.",
    ]
    if contract.threshold is not None:
        limits.append(
            f"A score of {contract.threshold.value:g} or more counts as positive: {contract.threshold.chosen}. It is "
            "not the threshold that suits any decision."
        )
    weight = getattr(contract.task, "positive_weight", 1)
    if weight != 1:
        limits.append(
            f"Positive labels weighed {weight:g} times as much in training: its scores are no probabilities."
        )
    if contract.model.personal:
        limits.append(
            f"The layers {', '.join(contract.model.personal)} are as at the beginning: each site trained its own, and "
            "the figures here are without them."
        )
    if card is not None and card.range.at_edge:
        limits.append("In some rounds sums did not fit the agreed range and were cut: see the card.")
    limits.append("A figure of few patients is uncertain: read the interval, not the figure alone.")
    return limits


def _describe_columns(contract: DataContract) -> Iterator[Row]:
    for feature, _, _ in list_columns(contract):
        match feature:
            case Number():
                yield feature.name, f"a number from {feature.low:g} to {feature.high:g}"
            case Category():
                yield feature.name, f"one of: {', '.join(feature.values)}"
            case Date(taken="days"):
                yield feature.name, f"a date from {feature.earliest} to {feature.latest}"
            case Date():
                yield feature.name, f"a date, of which the {feature.taken.replace('_', ' ')} is used"
            case Text():
                yield feature.name, f"a text, of which {feature.places} words or groups of words are known"


def _describe_arrays(contract: DataContract) -> Iterator[Row]:
    for tensor in contract.list_inputs():
        if tensor.name != FEATURES or not list_columns(contract):
            values = f", from {tensor.low:g} to {tensor.high:g}" if isinstance(tensor, Numbers) else ""
            yield tensor.name, describe_tensor(tensor) + values
