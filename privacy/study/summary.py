"""Summarise in words what a study predicts and from what, for tables and reports.

Rules:

* a table is described by its columns and the words of its label, arrays by names, types and shapes;
* a task that does not learn a table's label is described by the tensors that it needs instead.
"""

from collections.abc import Sequence

from privacy.study.data.columns import Category, Number
from privacy.study.data.labels import BinaryLabel, ClassLabel, NumberLabel, SeveralLabels, SurvivalLabel
from privacy.study.data.table import TableContract
from privacy.study.data.tensors import describe_tensor
from privacy.study.terms import Terms


def describe_prediction(terms: Terms) -> str:
    """Describe what is predicted: ``ill: yes against no``."""
    data, needed = terms.data, terms.task.list_targets()
    if isinstance(data, TableContract) and set(needed) <= {each.name for each in data.list_targets()} and needed:
        return _describe_label(data.label)
    tensors = [data.find_tensor(name) for name in needed]
    named = ", ".join(f"{each.name} ({describe_tensor(each)})" for each in tensors if each is not None)
    return f"{terms.task.kind}: {named}" if named else terms.task.kind


def describe_inputs(terms: Terms) -> dict[str, str]:
    """Describe what is predicted from, by name: columns of a table, tensors of arrays."""
    if isinstance(terms.data, TableContract):
        return {each.name: _describe_column(each) for each in terms.data.features}
    return {each.name: describe_tensor(each) for each in terms.data.list_inputs()}


def _describe_column(column: Number | Category) -> str:
    if isinstance(column, Number):
        return f"number from {column.low:g} to {column.high:g}"
    return f"one of {len(column.values)} words"


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
