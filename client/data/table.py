"""Read a CSV file against a contract of kind ``table``: its records as tensors, and everything that is wrong.

``client/data/adapters/csv.py`` decides what a word is, ``client/data/encoding.py`` and
``client/data/label_encoding.py`` which number it becomes, ``client/data/plausibility.py`` what is probably not meant.
"""

from pathlib import Path

from client.data.adapters.csv import read_words
from client.data.contents import Contents
from client.data.encoding import encode_features, name_patients
from client.data.label_encoding import EncodedTargets, encode_targets
from client.data.plausibility import find_suspicions
from privacy.study import TableContract


def read_table_contents(contract: TableContract, path: Path, *, with_targets: bool = True) -> Contents:
    """Read the CSV file ``path``, with the columns of the label or without.

    Raises:
        DataUnavailableError: the file cannot be read now.
        DataError: it is no CSV file, or has none of the columns.
    """
    labels = set(contract.label.list_columns())
    words = read_words(path, [name for name in contract.list_columns() if with_targets or name not in labels])
    mistakes = list(words.mistakes)
    ids = name_patients(contract, words, mistakes)
    encoded = EncodedTargets({}, (), ())
    if with_targets:
        encoded = encode_targets(contract.label, words)
    features = encode_features(contract, words)
    return Contents(
        ids=ids,
        inputs={"features": features.features},
        targets=encoded.targets,
        counts=features.counts,
        target_counts=encoded.counts,
        mistakes=(*mistakes, *encoded.mistakes, *features.mistakes),
        notes=(),
        sha256=words.sha256,
        find_warnings=lambda: find_suspicions(contract, words, features.counts, encoded.counts),
    )
