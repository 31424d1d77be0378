"""Summarise in words what a study predicts and from what, for tables and reports.

Rules:

* a table is described by its columns and the words of its label, arrays by names, types and shapes;
* a task that does not learn a table's label is described by the tensors that it needs instead;
* of pairs it is said which item is protected in the place of a patient;
* a study of statistics is described by what it counts.
"""

from collections.abc import Sequence

from privacy.study.data.columns import Category, Date, Number, Text
from privacy.study.data.labels import BinaryLabel, ClassLabel, NumberLabel, SeveralLabels, SurvivalLabel
from privacy.study.data.pairs import PairsContract
from privacy.study.data.table import TableContract
from privacy.study.data.tensors import describe_tensor
from privacy.study.tasks.measures import Measure
from privacy.study.tasks.statistics import StatisticsTerms
from privacy.study.terms import Terms


def describe_prediction(terms: Terms) -> str:
    """Describe what is predicted: ``ill: yes against no``; of a study of statistics, what is counted."""
    if isinstance(terms.task, StatisticsTerms):
        return _describe_statistics(terms.task, len(terms.task.choose_measures(terms.data)))
    data, needed = terms.data, terms.task.list_targets()
    if isinstance(data, TableContract) and set(needed) <= {each.name for each in data.list_targets()} and needed:
        return _describe_label(data.label)
    tensors = [data.find_tensor(name) for name in needed]
    named = ", ".join(f"{each.name} ({describe_tensor(each)})" for each in tensors if each is not None)
    return f"{terms.task.kind}: {named}" if named else terms.task.kind


def describe_inputs(terms: Terms) -> dict[str, str]:
    """Describe what is predicted from or counted, by name: columns of a table, tensors of arrays."""
    if isinstance(terms.task, StatisticsTerms):
        return {each.name: _describe_measure(each) for each in terms.task.choose_measures(terms.data)}
    if isinstance(terms.data, TableContract):
        return {each.name: _describe_column(each) for each in terms.data.features}
    tensors = {each.name: describe_tensor(each) for each in terms.data.list_inputs()}
    if isinstance(terms.data, PairsContract) and terms.data.protected in tensors:
        tensors[terms.data.protected] += "; protected, in the place of a patient: each one with all its pairs"
    return tensors


def _describe_statistics(task: StatisticsTerms, columns: int) -> str:
    parts = [f"nothing; it counts {columns} columns"]
    if task.pairs:
        parts.append(f"the correlation of {', '.join(' with '.join(pair) for pair in task.pairs)}")
    if task.differences:
        parts.append(f"how much sites differ in {', '.join(task.differences)}")
    return ", and ".join(parts)


def _describe_measure(measure: Measure) -> str:
    if not measure.is_number:
        return f"one of {len(measure.words)} words"
    if measure.days:
        return "date in a public range"
    stands_for = f", the {measure.stands_for}" if measure.stands_for else ""
    return f"number from {measure.low:g} to {measure.high:g}{stands_for}"


def _describe_column(column: Number | Category | Date | Text) -> str:
    match column:
        case Number():
            return f"number from {column.low:g} to {column.high:g}"
        case Category():
            return f"one of {len(column.values)} words"
        case Date(taken="days"):
            return f"date from {column.earliest} to {column.latest}"
        case Date():
            return f"date, its {column.taken.replace('_', ' ')}"
        case Text(words=None):
            return f"text, its words in {column.buckets} buckets"
        case Text():
            return f"text, which of {column.places} words it has"


def _describe_label(label: BinaryLabel | ClassLabel | NumberLabel | SeveralLabels | SurvivalLabel) -> str:
    match label:
        case BinaryLabel():
            return f"{label.name}: {', '.join(label.positive)} against {', '.join(label.negative)}"
        case ClassLabel():
            return f"{label.name}: one of {_list_words(label.classes)}"
        case NumberLabel():
            return f"{label.name}: a number from {label.low:g} to {label.high:g}"
        case SeveralLabels():
            return f"{', '.join(label.list_columns())}: each yes or no"
        case SurvivalLabel():
            return (
                f"{label.time}, up to {label.longest:g}, until {label.event}: {_list_words(label.causes)}; "
                f"{', '.join(label.censored)} if nothing more is known"
            )


def _list_words(classes: Sequence[Sequence[str]]) -> str:
    return ", ".join("/".join(words) for words in classes)
