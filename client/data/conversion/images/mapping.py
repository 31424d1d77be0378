"""Define the mapping of a contract of kind ``images``: which files there are, and whose they are.

::

    mapping: 1
    contract: radiographs
    source: {kind: table, source: {kind: csv, path: images.csv}}   # each row is an image
    images: {image: "pictures/{file}"}                             # {file}: the row's word in the column 'file'
    columns: {patient: PatNr, label: Befund}

    source: {kind: files, pattern: "{label}/{patient}_*.png"}      # each file is an image; its path has the words

    source: {kind: dicom, folder: archive, tags: [PatientID]}      # each DICOM image, or series if volumes are asked
    tables:                                                        # words from a table, found by a tag
      - {source: {kind: csv, path: findings.csv}, match: {PID: PatientID}, columns: {label: Befund}}
    columns: {patient: PatientID}

    masks: {mask: {file: "masks/{patient}.nii.gz", values: [[0], [1, 2]]}}   # the stored numbers of each class

A ``*`` stands for anything within a name. All files that a pattern finds for a row are images of it; of a volume,
they are its slices.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from client.data.conversion.record_words import RecordMapping
from client.data.conversion.sources import RowSource
from privacy.document import Document
from privacy.fields import Column
from privacy.study.data.tensors import TensorName

_PLACE = re.compile(r"\{([^{}/]*)\}")


def _check_pattern(pattern: str) -> str:
    rest = _PLACE.sub("", pattern)
    if not pattern or "{" in rest or "}" in rest or "{}" in pattern or "**" in pattern:
        raise ValueError("expected a path with words in braces and *, such as images/{patient}_*.png")
    if ".." in Path(pattern).parts or Path(pattern).is_absolute():
        raise ValueError("expected a path below the mapping's folder; use a symbolic link for files elsewhere")
    return pattern


class FilesSource(Document):
    """Files whose paths have the words."""

    kind: Literal["files"]
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _usable_pattern(cls, pattern: str) -> str:
        names = list_words(_check_pattern(pattern))
        if not names or len(set(names)) < len(names):
            raise ValueError("expected different words in braces, such as images/{patient}_{number}.png")
        return pattern


class TableOfImages(Document):
    """A table with a row for each image."""

    kind: Literal["table"]
    source: RowSource


class DicomSource(Document):
    """A folder of DICOM files, with all folders in it.

    Attributes:
        tags: those whose values are words, by their keywords.
        where: values that a file must have to be taken, by keyword, such as {Modality: CT}.
    """

    kind: Literal["dicom"]
    folder: Path
    tags: tuple[str, ...] = Field(default=("PatientID",), min_length=1, max_length=20)
    where: dict[str, str] = Field(default={})


class MaskFiles(Document):
    """Where masks are.

    Attributes:
        file: the path, as a pattern of the record's words.
        values: for each class, first the background, the numbers in the file that mean it.
    """

    file: str
    values: tuple[Annotated[tuple[int, ...], Field(min_length=1)], ...] = Field(min_length=2, max_length=64)

    @field_validator("file")
    @classmethod
    def _usable_pattern(cls, pattern: str) -> str:
        if "*" in pattern:
            raise ValueError("expected the path of one file, without *")
        return _check_pattern(pattern)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        numbers = [number for each in self.values for number in each]
        if len(set(numbers)) < len(numbers):
            raise ValueError("a number means one class; one is listed twice")
        return self


class ImagesMapping(RecordMapping):
    """Where images come from.

    Attributes:
        source: gives the records.
        images: the files of each image, as a pattern of the record's words. Where the source is files or DICOM, they
            are the contract's first image, which is not named here.
        masks: the files of each mask.
        volume: of NIfTI files of four axes, the number of the volume that is meant, from 0.
    """

    source: Annotated[FilesSource | TableOfImages | DicomSource, Field(discriminator="kind")]
    images: dict[TensorName, str] = Field(default={})
    masks: dict[TensorName, MaskFiles] = Field(default={})
    volume: int | None = Field(default=None, ge=0, lt=1_000_000)

    @field_validator("images")
    @classmethod
    def _usable_patterns(cls, images: dict[TensorName, str]) -> dict[TensorName, str]:
        for pattern in images.values():
            _check_pattern(pattern)
        return images

    def list_pattern_words(self) -> set[Column]:
        """List the words that the patterns of images and masks need."""
        patterns = [*self.images.values(), *(each.file for each in self.masks.values())]
        return {word for pattern in patterns for word in list_words(pattern)}


def list_words(pattern: str) -> list[str]:
    """List the words in the braces of a pattern.

    >>> list_words("{site}/{patient}_*.png")
    ['site', 'patient']
    """
    return _PLACE.findall(pattern)
