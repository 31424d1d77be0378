"""Convert images to the tensors of a contract of kind ``images``.

Rules:

* images are read one by one, and each file once; memory holds one record and one batch;
* an image that cannot be read, or has no mask or row, is left out with its reason;
* of all files that were read one digest is recorded, in the order of the records;
* text that is burnt into pixels is not detected: the report says so.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.image import Image, read_bytes
from client.data.adapters.imaging.image_file import is_dicom, read_images, read_volume
from client.data.adapters.imaging.nifti import looks_like_nifti
from client.data.conversion.batch import Batch, BatchBuilder
from client.data.conversion.converters import Request
from client.data.conversion.images.feature_words import read_features
from client.data.conversion.images.find_files import (
    ImageRecord,
    fill_pattern,
    find_by_pattern,
    find_dicom,
    find_in_table,
)
from client.data.conversion.images.image_tensors import (
    ClippedPixels,
    find_real_slices,
    make_mask,
    make_tensor,
    orient,
    require_same_place,
)
from client.data.conversion.images.mapping import DicomSource, FilesSource, ImagesMapping, TableOfImages, list_words
from client.data.conversion.label_words import UnusableError
from client.data.conversion.record_words import Found, RecordWords
from privacy.errors import DataError, SiteConfigError
from privacy.study.data.images import ImageInput, ImagesContract

_TEXT: Final = (
    "text that is burnt into the pixels of images, such as a name, is not detected; look at some images: "
    "consilium-site data show"
)


def convert_images(request: Request) -> Iterator[Batch]:
    """Yield the records of a mapping of images.

    Raises:
        DataUnavailableError: a table or folder cannot be read now.
        SiteConfigError: the mapping does not suit the contract, or a library is not installed.
    """
    contract, mapping = request.contract, request.mapping
    _check_mapping(contract, mapping, request.with_targets)
    columns = tuple(feature.name for feature in contract.features)
    words = RecordWords(request, contract.label, columns)
    maker = _RecordMaker(request, words)
    tensors = (*contract.list_inputs(), *(contract.list_targets() if request.with_targets else ()))
    builder = BatchBuilder(tensors)
    for record in _find_records(request, words):
        found = words.find(record.words, record.source, record.row)
        if found is None:
            continue
        try:
            made = maker.make(record, found)
        except UnusableError as error:
            request.findings.quarantine(str(error), record.source, record.row, error.column)
            continue
        for tensors_of_one in made:
            if batch := builder.add(found.patient, found.held_out, tensors_of_one):
                yield batch
    if batch := builder.finish():
        yield batch
    maker.report()


class _RecordMaker:
    """Makes the tensors of records, and keeps what is said about all of them."""

    def __init__(self, request: Request, words: RecordWords) -> None:
        self._request, self._words = request, words
        self._contract: ImagesContract = request.contract
        self._mapping: ImagesMapping = request.mapping
        self._digest = hashlib.sha256()
        self._files = 0
        self._clipped = {image.name: ClippedPixels() for image in self._contract.images}
        self._text_possible, self._text_said = False, 0

    def make(self, record: ImageRecord, found: Found) -> list[dict[str, Any]]:
        """Return the tensors of one record, or of the several that its files hold.

        Raises:
            UnusableError: an image, a mask or a column cannot be used.
        """
        values: dict[str, Any] = dict(found.targets)
        if self._contract.features:
            values["features"] = self._read_features(found)
        images = {asked.name: self._read(asked, record, found.words) for asked in self._contract.images}
        several = [name for name, each in images.items() if len(each) > 1]
        if several and (len(images) > 1 or self._contract.masks):
            raise UnusableError("has several images, expected one", several[0])
        if several:
            asked = self._contract.images[0]
            return [values | {asked.name: self._make_tensor(asked, image)} for image in images[asked.name]]
        each_one = {name: each[0] for name, each in images.items()}
        for asked in self._contract.images:
            values[asked.name] = self._make_tensor(asked, each_one[asked.name])
        if self._request.with_targets:
            for mask in self._contract.masks:
                values[mask.name] = self._read_mask(mask.name, each_one[mask.of], found.words)
        if self._contract.record == "image":
            return [values]
        return self._split(values, each_one)

    def report(self) -> None:
        """Record what was read, and say what the owner may want to know."""
        findings = self._request.findings
        if self._files:
            findings.record_source(f"{self._files} image files", self._digest.hexdigest())
        if self._text_possible:
            findings.add_note(_TEXT)
        if self._text_said:
            findings.add_note(f"{self._text_said} images say themselves that text is burnt into them")
        for name, clipped in self._clipped.items():
            if clipped.below or clipped.above:
                findings.add_note(
                    f"image '{name}': {clipped.below / clipped.pixels:.1%} of all pixels lie below the contract's "
                    f"window, {clipped.above / clipped.pixels:.1%} above it; they count as its ends"
                )

    def _read_features(self, found: Found) -> NDArray[np.float32]:
        """Read the columns beside the images, each with the decimal mark of where it comes from."""
        names = [feature.name for feature in self._contract.features]
        words = {name: self._words.pick(name, found.words) for name in names}
        marks = {name: self._words.find_mark(self._mapping.columns.get(name, name)) for name in names}
        return read_features(self._contract, words, marks)

    def _read(self, asked: ImageInput, record: ImageRecord, words: Mapping[str, str]) -> list[Image]:
        """Read the images of a record that are called ``asked``, in the contract's orientation."""
        pattern = self._mapping.images.get(asked.name)
        try:
            paths = record.files if pattern is None else fill_pattern(pattern, words, self._request.folder)
            files = [self._read_file(path) for path in paths]
            if asked.orientation is None:
                images = [image for data in files for image in read_images(data)]
            else:
                images = [orient(read_volume(files, self._mapping.volume), asked.orientation)]
        except DataError as error:
            raise UnusableError(str(error), asked.name) from None
        self._text_said += sum(image.says_text for image in images)
        return images

    def _read_file(self, path: Path) -> bytes:
        data = read_bytes(path)
        self._files += 1
        self._digest.update(hashlib.sha256(data).digest())
        self._text_possible |= not looks_like_nifti(data[:352])
        return data

    def _make_tensor(self, asked: ImageInput, image: Image) -> NDArray[np.float32]:
        try:
            return make_tensor(image, asked, self._clipped[asked.name])
        except DataError as error:
            raise UnusableError(str(error), asked.name) from None

    def _read_mask(self, name: str, image: Image, words: Mapping[str, str]) -> NDArray[np.uint8]:
        """Read the mask ``name`` of an image, which has its orientation already."""
        given = self._mapping.masks[name]
        asked = self._contract.find_image(next(each.of for each in self._contract.masks if each.name == name))
        classes = {number: place for place, numbers in enumerate(given.values) for number in numbers}
        try:
            data = self._read_file(fill_pattern(given.file, words, self._request.folder)[0])
            mask = self._read_stored_mask(data, asked, image)
            return make_mask(mask, image, asked, classes)
        except DataError as error:
            raise UnusableError(str(error), name) from None

    def _read_stored_mask(self, data: bytes, asked: ImageInput, image: Image) -> NDArray[Any]:
        """Return the numbers of a mask on the pixels of its image: (*space)."""
        if asked.orientation is None:
            masks = read_images(data)
            if len(masks) != 1:
                raise DataError("has several frames, expected one mask")
            return self._take_one_channel(masks[0])
        if is_dicom(data):
            from client.data.adapters.imaging.dicom_volume import read_segmentation

            return read_segmentation(data, image)
        mask = orient(read_volume([data], None), asked.orientation)
        require_same_place(mask, image)
        return self._take_one_channel(mask)

    @staticmethod
    def _take_one_channel(mask: Image) -> NDArray[Any]:
        first = mask.values[0]
        if any(not np.array_equal(first, each) for each in mask.values[1:]):
            raise DataError("has colours, expected one number for each pixel")
        return np.asarray(first)

    def _split(self, values: Mapping[str, Any], images: Mapping[str, Image]) -> list[dict[str, Any]]:
        """Split a record of volumes into records of slices, without those that are padding only."""
        found = {asked.name: find_real_slices(images[asked.name], asked) for asked in self._contract.images}
        first = next(iter(found.values()))
        if any(each != first for each in found.values()):
            raise UnusableError("has volumes of different numbers of slices", next(iter(found)))
        masks = {mask.name for mask in self._contract.masks}
        return [
            {
                name: value[:, place] if name in found else value[place] if name in masks else value
                for name, value in values.items()
            }
            for place in first
        ]


def _find_records(request: Request, words: RecordWords) -> Iterator[ImageRecord]:
    mapping: ImagesMapping = request.mapping
    source, findings = mapping.source, request.findings
    needed = mapping.list_pattern_words() if request.with_targets else _list_image_words(mapping)
    given = {word for table in mapping.tables for word in table.columns} | set(mapping.words)
    wanted = sorted({*words.wanted, *(needed - given)})
    if isinstance(source, TableOfImages):
        words.set_mark(source.source.decimal_mark)
        yield from find_in_table(source, request.folder, wanted, words.ids, findings)
        return
    if isinstance(source, FilesSource):
        has, where = set(list_words(source.pattern)), "the pattern"
    else:
        has, where = set(source.tags), "the source, by its tags,"
    words.require(has, where)
    if lacking := sorted(needed - given - has):
        findings.add_mistake(f"{where} gives no {', '.join(lacking)}, which the paths of images or masks need")
    if isinstance(source, FilesSource):
        yield from find_by_pattern(source, request.folder, findings)
    else:
        are_volumes = request.contract.images[0].depth is not None
        yield from find_dicom(source, request.folder, are_volumes, findings)


def _list_image_words(mapping: ImagesMapping) -> set[str]:
    return {word for pattern in mapping.images.values() for word in list_words(pattern)}


def _check_mapping(contract: ImagesContract, mapping: ImagesMapping, with_targets: bool) -> None:
    """Check that the mapping names what the contract has.

    Raises:
        SiteConfigError: an image or mask is missing or unknown.
    """
    own = isinstance(mapping.source, FilesSource | DicomSource)
    images = [each.name for each in contract.images]
    asked = images[1:] if own else images
    if strange := sorted(set(mapping.images) - set(asked)):
        hint = "; the source gives the first image itself" if own and strange[0] == images[0] else ""
        raise SiteConfigError(
            f"images: '{strange[0]}' is not expected here, but {', '.join(asked) or 'nothing'}{hint}"
        )
    if lacking := [name for name in asked if name not in mapping.images]:
        raise SiteConfigError(f"images: write for '{lacking[0]}' where its files are, such as \"images/{{file}}\"")
    masks = {each.name: each.classes for each in contract.masks}
    if strange := sorted(set(mapping.masks) - set(masks)):
        raise SiteConfigError(f"masks: the contract has no mask '{strange[0]}'")
    if not with_targets:
        return
    for name, classes in masks.items():
        if name not in mapping.masks:
            raise SiteConfigError(f"masks: write for '{name}' where its files are, and their values")
        if len(mapping.masks[name].values) != classes:
            raise SiteConfigError(
                f"masks.{name}.values: expected the numbers of {classes} classes, the background first, got "
                f"{len(mapping.masks[name].values)}"
            )
