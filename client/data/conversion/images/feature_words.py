"""Turn the words of the columns beside an image into the tensor ``features``, as those of a table."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.csv import Words
from client.data.conversion.label_words import UnusableError, read_decimal
from client.data.encoding import encode_features
from privacy.study import Number
from privacy.study.data.images import ImagesContract

_REASONS: Final = {
    "number": "is not a number",
    "category": "has a word outside the vocabulary",
    "date": "is not a date, such as 2024-03-01",
    "text": "is no text",
}


def read_features(
    contract: ImagesContract, words: Mapping[str, str], marks: Mapping[str, str]
) -> NDArray[np.float32]:
    """Return (width,) numbers, scaled as the contract says.

    Args:
        contract: names the columns.
        words: of each of them.
        marks: decimal marks other than the point, by column.

    Raises:
        UnusableError: a word is no number, or is not in the vocabulary.
    """
    columns = dict(words)
    for feature in contract.features:
        if isinstance(feature, Number) and words[feature.name] not in contract.missing:
            columns[feature.name] = repr(read_decimal(feature.name, words, marks))
    encoded = encode_features(contract, Words({name: [word] for name, word in columns.items()}, [1], "", ()))
    for mistake in encoded.mistakes:
        column = mistake.column or ""
        kind = next(feature.kind for feature in contract.features if feature.name == column)
        raise UnusableError(_REASONS[kind], column)
    return np.asarray(encoded.features[0])
