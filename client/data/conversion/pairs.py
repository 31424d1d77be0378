"""Convert a table of pairs, with the letters of its items, to a contract of kind ``pairs``.

Rules:

* what is protected is a patient here: the identifier of the protected item, or the person whom the table tells;
* a constant becomes -log10 of mol/l. One that is only a bound (``> 10000``) is left out, or counts as the bound, as the
  contract says;
* a pair whose item has no letters, or letters that the contract does not take, is left out;
* the letters of all items, and matrices of similarities, are held in memory; pairs are not.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from numpy.typing import NDArray

from client.data.adapters.fasta import FastaFile
from client.data.adapters.molecules import UnusableMoleculeError, compute_fingerprint, require_chemistry
from client.data.conversion.batch import Batch, BatchBuilder
from client.data.conversion.converters import Request
from client.data.conversion.findings import Findings, collect_mistakes
from client.data.conversion.label_words import UnusableError, read_number_word
from client.data.conversion.pairs_mapping import (
    AffinityColumn,
    ItemColumn,
    ItemFasta,
    ItemMatrix,
    ItemMatrixArrays,
    ItemTable,
    PairsMapping,
    Unit,
)
from client.data.conversion.record_words import RecordWords
from client.data.conversion.similarity_rows import SimilarityRows
from client.data.conversion.sources import open_rows
from client.data.identifiers import normalise
from client.data.letter_encoding import LetterEncoder, UnusableLettersError
from privacy.errors import SiteConfigError
from privacy.study.data.letters import Letters
from privacy.study.data.pairs import Affinity, PairInput, PairsContract, Similarities

_EXPONENTS: Final[dict[Unit, int]] = {"M": 0, "mM": 3, "uM": 6, "nM": 9, "pM": 12}
_RELATION: Final = re.compile(r"\s*(<<|>>|[<>]=?|=|~|\u2264|\u2265)?\s*")
_PERSON: Final = "person"
Encode = Callable[[Any], NDArray[Any]]


def convert_pairs(request: Request) -> Iterator[Batch]:
    """Yield the pairs of the mapping's table.

    Raises:
        DataUnavailableError: a file cannot be read now.
        SiteConfigError: the mapping does not fit the contract.
    """
    contract: PairsContract = request.contract
    mapping: PairsMapping = request.mapping
    affinity = _require_fit(request)
    items = {each.name: _open_items(each, request) for each in contract.inputs}
    words = tuple(word for each in items.values() for word in each.words)
    if affinity is not None:
        words += (affinity.column, *([] if affinity.relation is None else [affinity.relation]))
    patient = None if contract.protected == _PERSON else items[contract.protected].identifier
    finder = RecordWords(request, contract.label, raw=words, patient=patient)
    finder.set_mark(mapping.pairs.decimal_mark)
    encoders = {each.name: _make_encoder(each) for each in contract.inputs}
    builder = BatchBuilder((*contract.list_inputs(), *(contract.list_targets() if request.with_targets else ())))
    for chunk in open_rows(mapping.pairs, request.folder, finder.wanted, request.findings, ids=finder.ids):
        names = list(chunk.columns)
        for place, *row in zip(chunk.places, *chunk.columns.values(), strict=True):
            found = finder.find(dict(zip(names, row, strict=True)), chunk.source, place)
            if found is None:
                continue
            values = dict(found.targets)
            try:
                for name, encode in encoders.items():
                    values[name] = _encode(name, encode, items[name].find(found.words))
                if affinity is not None and contract.affinity is not None:
                    mark = finder.find_mark(affinity.column)
                    values["affinity"] = read_affinity(contract.affinity, affinity, found.words, mark)
            except UnusableError as error:
                request.findings.quarantine(str(error), chunk.source, place, error.column)
                continue
            if batch := builder.add(found.patient, found.held_out, values):
                yield batch
    if batch := builder.finish():
        yield batch
    if contract.protected != _PERSON:
        items[contract.protected].note_doubles(request.findings, contract.protected)


def read_affinity(affinity: Affinity, column: AffinityColumn, words: Mapping[str, str], mark: str = ".") -> float:
    """Read the constant of a pair as -log10 of mol/l.

    Raises:
        UnusableError: it is none, not above 0, or only a bound, which the contract refuses.
    """
    name = column.column
    parts = _RELATION.match(words.get(name, ""))
    relation = parts[0].strip() if parts else ""
    text = words.get(name, "").strip().removeprefix(relation).strip()
    if column.relation is not None:
        word = words.get(column.relation, "").strip("' \"")
        if not (found := _RELATION.fullmatch(word)):
            raise UnusableError("is no relation such as = < >", column.relation)
        relation = relation or found[0].strip()
    number = read_number_word(name, text, mark)
    if relation not in ("", "=") and affinity.bounds == "refuse":
        raise UnusableError("is only a bound, which the contract refuses", name)
    if column.unit == "p":
        return number
    if number <= 0:
        raise UnusableError("is not above 0", name)
    return _EXPONENTS[column.unit] - math.log10(number)


class _Items:
    """The letters of the items of one input."""

    def __init__(self, item: ItemColumn | ItemTable | ItemFasta, request: Request) -> None:
        """Read them, unless they are in the table of pairs."""
        self._texts = dict[str, str]()
        self._seen = dict[str, str]()
        self._doubles = set[str]()
        match item:
            case ItemColumn():
                self.identifier: str | None = item.id
                self._column: str | None = item.column
                self.words: tuple[str, ...] = (item.column, *([] if item.id is None else [item.id]))
                return
            case ItemTable():
                self._title = item.source.title
                for chunk in open_rows(
                    item.source, request.folder, (item.id, item.text), request.findings, ids=(item.id,)
                ):
                    for place, name, text in zip(
                        chunk.places, chunk.columns[item.id], chunk.columns[item.text], strict=True
                    ):
                        self._add(name, text, request.findings, place)
            case ItemFasta():
                self._title, file = item.path.name, FastaFile(request.folder / item.path)
                with collect_mistakes(request.findings):
                    for record in file:
                        self._add(record.name, record.letters, request.findings, record.line)
                    request.findings.record_source(str(item.path), file.sha256)
        self.identifier, self._column, self.words = item.match, None, (item.match,)

    def find(self, words: Mapping[str, str]) -> str:
        """Return the letters of a pair's item.

        Raises:
            UnusableError: nobody knows them.
        """
        if self._column is not None:
            text = words.get(self._column, "")
            if self.identifier is not None:
                self._note(normalise(words.get(self.identifier, "")), text)
            return text
        name = normalise(words.get(self.identifier or "", ""))
        if name not in self._texts:
            raise UnusableError(f"names no item of {self._title}", self.identifier or "")
        self._note(name, self._texts[name])
        return self._texts[name]

    def note_doubles(self, findings: Findings, what: str) -> None:
        """Tell how many protected items have the letters of another one: the same thing under two names."""
        if self._doubles:
            findings.add_note(
                f"{len(self._doubles)} items of '{what}' have the same letters as another one: each has a budget of "
                "its own, as if they were different; give what is the same one identifier"
            )

    def _note(self, name: str, text: str) -> None:
        if self._seen.setdefault(text, name) != name:
            self._doubles.add(name)

    def _add(self, name: str, text: str, findings: Findings, place: int) -> None:
        key = normalise(name)
        if not key:
            findings.quarantine("has no name of an item", self._title, place)
        elif self._texts.setdefault(key, text) != text:
            findings.add_mistake(
                f"{self._title}: an item stands there several times with different letters, again in {place}; leave one"
            )


def _open_items(wanted: PairInput, request: Request) -> _Items | SimilarityRows:
    """Read what the items of an input are made of.

    Raises:
        SiteConfigError: the mapping has letters where the contract wants similarities, or the other way round.
    """
    item = request.mapping.items[wanted.name]
    if isinstance(wanted, Similarities) and isinstance(item, ItemMatrix | ItemMatrixArrays):
        return SimilarityRows(item, wanted, request)
    if isinstance(wanted, Similarities) or isinstance(item, ItemMatrix | ItemMatrixArrays):
        expected = "matrix or npz" if isinstance(wanted, Similarities) else "column, table or fasta"
        raise SiteConfigError(
            f"items.{wanted.name}: the contract wants {wanted.kind}, whose item is of kind {expected}, got {item.kind}"
        )
    return _Items(item, request)


def _make_encoder(wanted: PairInput) -> Encode:
    if isinstance(wanted, Letters):
        return LetterEncoder(wanted).encode
    if isinstance(wanted, Similarities):
        return lambda row: row
    require_chemistry()
    return lambda text: compute_fingerprint(text, wanted.radius, wanted.bits)


def _encode(name: str, encode: Encode, text: Any) -> NDArray[Any]:
    try:
        return encode(text)
    except (UnusableLettersError, UnusableMoleculeError) as error:
        raise UnusableError(f"the item of '{name}' {error}") from None


def _require_fit(request: Request) -> AffinityColumn | None:
    """Return where the constant is, None if the contract wants none.

    Raises:
        SiteConfigError: the mapping names other items than the contract, or no constant.
    """
    contract: PairsContract = request.contract
    mapping: PairsMapping = request.mapping
    names = [each.name for each in contract.inputs]
    if set(mapping.items) != set(names):
        raise SiteConfigError(
            f"items: expected those of the contract ({', '.join(names)}), got {', '.join(mapping.items) or 'none'}"
        )
    if contract.protected != _PERSON:
        item = mapping.items[contract.protected]
        if isinstance(item, ItemColumn) and item.id is None:
            raise SiteConfigError(
                f"items.{contract.protected}: the contract protects it; name the column that identifies it: id"
            )
        if contract.patient in mapping.columns:
            raise SiteConfigError(
                f"columns: '{contract.patient}' is the identifier of '{contract.protected}', as the contract protects "
                "it; leave it out"
            )
    if contract.affinity is None or not request.with_targets:
        return None
    if mapping.affinity is None:
        raise SiteConfigError("affinity: missing; name the column of the constant, and its unit")
    return mapping.affinity
