"""Find the records of a mapping of images: the words of each, and the files of its first image.

Rules:

* the order of the records does not depend on the file system: rows come as the table has them, files by their path,
  DICOM images by series, number and identifier;
* a path that can be divided into the pattern's words in two ways is left out, not guessed;
* a word cannot lead out of the mapping's folder.
"""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from client.data.adapters.imaging.dicom_file import check_keyword, read_tags
from client.data.conversion.findings import Findings
from client.data.conversion.images.mapping import DicomSource, FilesSource, TableOfImages, list_words
from client.data.conversion.sources import open_rows
from privacy.errors import DataError, DataUnavailableError

_SERIES: Final = ("SeriesInstanceUID", "InstanceNumber", "SOPInstanceUID")
_DICOM_NAMES: Final = (".dcm", ".ima", ".dicom")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,12}")  # IS: PS3.5, 6.2


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """What the source says of one record.

    Attributes:
        words: of the record.
        files: of the contract's first image; empty if the mapping's ``images`` names them.
        source: the table, pattern or folder, and ``row`` the place in it, for reports: no name of an image's file,
            which may name a patient.
    """

    words: Mapping[str, str] = field(repr=False)
    files: tuple[Path, ...]
    source: str
    row: int


def find_in_table(
    source: TableOfImages, folder: Path, columns: Sequence[str], ids: Sequence[str], findings: Findings
) -> Iterator[ImageRecord]:
    """Yield a record for each row."""
    for chunk in open_rows(source.source, folder, columns, findings, ids=ids):
        names = list(chunk.columns)
        for place, *words in zip(chunk.places, *chunk.columns.values(), strict=True):
            yield ImageRecord(dict(zip(names, words, strict=True)), (), chunk.source, place)


def find_by_pattern(source: FilesSource, folder: Path, findings: Findings) -> Iterator[ImageRecord]:
    """Yield a record for each file that the pattern finds, by path."""
    found = sorted(_glob(source.pattern, {}, folder))
    if not found:
        findings.add_mistake(f"no file is called {source.pattern}")
    for number, name in enumerate(found, 1):
        findings.report_progress("images", number, len(found))
        findings.name_file(source.pattern, number, name)
        lazy, greedy = (_divide(source.pattern, name, some) for some in ("+?", "+"))
        if lazy is None or lazy != greedy:
            findings.quarantine("can be divided into the pattern's words in several ways", source.pattern, number)
            continue
        yield ImageRecord(lazy, (folder / name,), source.pattern, number)


def find_dicom(source: DicomSource, folder: Path, are_volumes: bool, findings: Findings) -> Iterator[ImageRecord]:
    """Yield a record for each DICOM image in the folder, or for each series.

    Raises:
        DataUnavailableError: the folder cannot be read.
        SiteConfigError: a tag is unknown, or pydicom is not installed.
    """
    for keyword in (*source.tags, *source.where):
        check_keyword(keyword)
    headers = sorted(_read_headers(source, folder, findings))
    if not headers:
        findings.add_mistake(
            f"{source.folder}: has no DICOM image" + (" that 'where' takes" if source.where else "")
        )
    if are_volumes:
        groups = [list(members) for _, members in itertools.groupby(headers, key=lambda header: header.series)]
    else:
        groups = [[header] for header in headers]
    title, last = str(source.folder), None
    for number, members in enumerate(groups, 1):
        findings.report_progress("images", number, len(groups))
        first = members[0]
        findings.name_file(title, first.place, first.file)
        if not are_volumes and first.uid == last:
            findings.quarantine("is an image that is there already", title, first.place)
            continue
        last = first.uid
        if any(each.words != first.words for each in members):
            findings.quarantine("is of a series whose files differ in a tag that is asked for", title, first.place)
            continue
        words = dict(zip(source.tags, first.words, strict=True))
        yield ImageRecord(words, tuple(folder / each.file for each in members), title, first.place)


class _Header(NamedTuple):
    """What is kept of a DICOM file until its image is read; in the order in which images are sorted."""

    series: str
    number: int
    uid: str
    file: str
    words: tuple[str, ...]
    place: int


def _read_headers(source: DicomSource, folder: Path, findings: Findings) -> Iterator[_Header]:
    """Yield the headers of the images that the source takes, in any order."""
    tags = tuple(dict.fromkeys((*source.tags, *source.where, *_SERIES)))
    others = 0
    for number, name in enumerate(_list_files(folder / source.folder), 1):
        findings.report_progress("headers", number)
        shown = str(source.folder / name)
        findings.name_file(str(source.folder), number, shown)
        try:
            header = read_tags(folder / shown, tags)
        except DataError as error:
            findings.quarantine(str(error), str(source.folder), number)
            continue
        if header is None and Path(name).suffix.lower() in _DICOM_NAMES:
            findings.quarantine("is no DICOM file", str(source.folder), number)
        elif header is None or not header["SOPInstanceUID"]:
            others += 1  # an index of the archive (DICOMDIR), a text
        elif all(header[keyword] == value for keyword, value in source.where.items()):
            series, order, uid = (header[keyword] for keyword in _SERIES)
            of_series = int(order) if _NUMBER.fullmatch(order) else 0
            words = tuple(header[tag] for tag in source.tags)
            yield _Header(series, of_series, uid, shown, words, number)
    if others:
        findings.add_note(f"{source.folder}: {others} files are no DICOM images, and were left aside")


def fill_pattern(pattern: str, words: Mapping[str, str], folder: Path) -> list[Path]:
    """Return the files that ``pattern`` finds with these words, sorted by path.

    Raises:
        DataError: a word is no part of a path below the folder, or there is no such file.
    """
    for name in list_words(pattern):
        word = words.get(name, "")
        if not word:
            raise DataError(f"has no word '{name}' for the path")
        if ".." in Path(word).parts or Path(word).is_absolute() or "\x00" in word:
            raise DataError(f"has in '{name}' a path that leads elsewhere")
    filled = re.sub(r"\{([^{}/]*)\}", lambda found: words[found[1]], pattern)
    if Path(filled).parts.count("..") != Path(pattern).parts.count(".."):  # two words of one point each
        raise DataError("has words that make a path that leads elsewhere")
    found = sorted(_glob(pattern, words, folder))
    if not found:
        raise DataError("has no such file")
    return [folder / name for name in found]


def _glob(pattern: str, words: Mapping[str, str], folder: Path) -> Iterator[str]:
    """Yield the paths below ``folder`` that match; a word that is not given matches anything within a name."""
    parts = re.split(r"\{([^{}/]*)\}", pattern)
    for place in range(len(parts)):
        if place % 2:
            parts[place] = glob.escape(words[parts[place]]) if parts[place] in words else "*"
        else:
            parts[place] = parts[place].replace("[", "[[]").replace("?", "[?]")
    yield from glob.iglob("".join(parts), root_dir=folder)


def _divide(pattern: str, name: str, some: str) -> dict[str, str] | None:
    """Divide a path into the words of a pattern; ``some`` is how often a character of a word may come."""
    parts = re.split(r"\{([^{}/]*)\}", pattern)
    names = parts[1::2]
    expression = "".join(
        f"([^/]{some})" if place % 2 else re.escape(part).replace(r"\*", "[^/]*")
        for place, part in enumerate(parts)
    )
    found = re.fullmatch(expression, name)
    return None if found is None else dict(zip(names, found.groups(), strict=True))


def _list_files(folder: Path) -> Iterator[str]:
    """Yield all files below ``folder`` that are not hidden, as paths within it."""

    def refuse(cause: OSError) -> None:
        raise DataUnavailableError(f"{folder}: cannot be read: {cause.strerror}") from None

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        for name in sorted(name for name in files if not name.startswith(".")):
            yield os.path.relpath(os.path.join(place, name), folder)
