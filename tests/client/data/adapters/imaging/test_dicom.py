"""DICOM pixels become the numbers that the standard says; nothing else of a header gets out."""

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from client.data.adapters.imaging import decoder_process
from client.data.adapters.imaging.dicom import read_frames
from client.data.adapters.imaging.dicom_file import check_keyword, read_tags
from client.data.adapters.imaging.image import DisplayTable, DisplayWindow, Image
from client.data.adapters.imaging.image_file import read_images
from privacy.errors import DataError, SiteConfigError
from tests.client.data.adapters.imaging.dicom_files import (
    SECRET,
    draw,
    encapsulate_frames,
    make_dicom,
    make_flat_lossless_jpeg,
    make_sequence,
    to_bytes,
    write,
)

SHARED = Path(__file__).resolve().parents[6] / "shared" / "data"


def read_one(dataset: pydicom.Dataset) -> Image:
    (frame,) = read_frames(to_bytes(dataset))
    return frame.image


def shared(name: str) -> bytes:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"shared/data/{name} is not here")
    return path.read_bytes()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("dtype", "bits"), [("uint8", 8), ("int8", 8), ("uint16", 12), ("uint16", 16), ("int16", 12), ("int16", 16)]
)
def test_grey_pixels_of_any_sign_and_depth_are_exact(photometric: str, dtype: str, bits: int) -> None:
    is_signed = dtype.startswith("int")
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if is_signed else (0, (1 << bits) - 1)
    stored = draw((6, 5), dtype, low, high)
    image = read_one(
        make_dicom(stored, photometric, BitsStored=bits, HighBit=bits - 1, RescaleSlope=2, RescaleIntercept=-7)
    )
    expected = [[2 * int(value) - 7 for value in row] for row in stored]
    assert image.values.tolist() == [expected]
    assert image.ends == (float(2 * low - 7), float(2 * high - 7))
    assert image.is_inverted == (photometric == "MONOCHROME1")


def test_bits_beside_the_stored_ones_are_dropped() -> None:
    """Old devices keep overlays in the bits above: 12 bits in bits 0 to 11, and in bits 4 to 15."""
    values = draw((4, 4), "uint16", 0, 4095)
    low = make_dicom(values | 0x8000, BitsStored=12, HighBit=11)
    assert read_one(low).values[0].tolist() == values.tolist()
    high = make_dicom((values << 4) | 0x000F, BitsStored=12, HighBit=15)
    assert read_one(high).values[0].tolist() == values.tolist()
    signed = np.array([[-2048, -1], [0, 2047]], dtype=np.int16)
    with_overlay = make_dicom(signed & 0x0FFF, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert read_one(with_overlay).values[0].tolist() == signed.tolist()


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_are_exact_in_both_orders(planar: int) -> None:
    colours = draw((3, 4, 3), "uint8", 0, 255)
    dataset = make_dicom(colours, "RGB")
    if planar:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = np.moveaxis(colours, 2, 0).tobytes()
    image = read_one(dataset)
    assert image.values.tolist() == np.moveaxis(colours, 2, 0).tolist()
    assert image.ends == (0.0, 255.0)


def test_ybr_colours_are_converted_by_the_formula_of_the_standard() -> None:
    """PS3.3, C.7.6.3.1.2: the inverse of Y = 0.299 R + 0.587 G + 0.114 B, and so on."""
    ybr = draw((5, 5, 3), "uint8", 60, 190)
    found = read_one(make_dicom(ybr, "YBR_FULL")).values.astype(float)
    luma, blue, red = (ybr[..., place].astype(float) for place in range(3))
    expected = np.stack([luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
                         luma + 1.772 * (blue - 128)])  # fmt: skip
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= 1  # rounded


def test_palette_is_looked_up() -> None:
    places = draw((4, 4), "uint8", 0, 3)
    palette = np.array([[0, 100, 200, 255], [9, 8, 7, 6], [1, 2, 3, 4]], dtype=np.uint16)
    dataset = make_dicom(places, "PALETTE COLOR")
    for name, entries in zip(("Red", "Green", "Blue"), palette, strict=True):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", entries.astype("<u2").tobytes())
    image = read_one(dataset)
    assert image.values.tolist() == [
        [[int(entries[each]) for each in row] for row in places] for entries in palette
    ]


def test_modality_table_replaces_the_rescale() -> None:
    stored = np.array([[0, 1], [2, 9]], dtype=np.uint8)
    dataset = make_dicom(stored)
    dataset.ModalityLUTSequence = make_sequence(LUTDescriptor=[3, 0, 16], LUTData=[10, 500, 1000])
    dataset.ModalityLUTSequence[0]["LUTDescriptor"].VR = "US"
    dataset.ModalityLUTSequence[0]["LUTData"].VR = "US"
    image = read_one(dataset)
    assert image.values.tolist() == [[[10, 500], [1000, 1000]]]
    assert image.ends == (0.0, 65535.0)


def test_padding_counts_as_the_darkest_number() -> None:
    stored = np.array([[-2000, 5], [40, -2000]], dtype=np.int16)
    image = read_one(make_dicom(stored, PixelPaddingValue=-2000, RescaleSlope=1, RescaleIntercept=-1024))
    assert image.values.tolist() == [[[-33792.0, -1019.0], [-984.0, -33792.0]]]
    inverted = read_one(make_dicom(stored.astype(np.uint16), "MONOCHROME1", PixelPaddingValue=63536))
    assert inverted.values[0, 0, 0] == 65535  # dark, since high is dark


def test_frames_have_rescales_of_their_own() -> None:
    stored = draw((2, 3, 3), "uint16", 0, 100)
    dataset = make_dicom(stored)
    dataset.PerFrameFunctionalGroupsSequence = pydicom.Sequence([pydicom.Dataset(), pydicom.Dataset()])
    for item, slope in zip(dataset.PerFrameFunctionalGroupsSequence, (2.0, 0.5), strict=True):
        item.PixelValueTransformationSequence = make_sequence(RescaleSlope=slope, RescaleIntercept=1.0)
    first, second = (frame.image for frame in read_frames(to_bytes(dataset)))
    assert first.values.tolist() == [(stored[0] * 2.0 + 1).tolist()]
    assert second.values.tolist() == [(stored[1] * 0.5 + 1).tolist()]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("LINEAR", [0.0, 0.0, (100 - 99.5) / 199 + 0.5, 1.0]),
        ("LINEAR_EXACT", [0.0, 0.0, 0.5, 1.0]),
        ("SIGMOID", [1 / (1 + np.exp(4 * 2.0)), 1 / (1 + np.exp(2.0)), 0.5, 1 / (1 + np.exp(-2.0))]),
    ],
)
def test_display_window_is_that_of_the_standard(shape: str, expected: list[float]) -> None:
    stored = np.array([[-300, 0], [100, 200]], dtype=np.int16)
    image = read_one(make_dicom(stored, WindowCenter=[100, 5], WindowWidth=[200, 6], VOILUTFunction=shape))
    assert isinstance(image.display, DisplayWindow)
    assert image.display.brighten(image.values[0].astype(float)).ravel() == pytest.approx(expected)


def test_display_table_goes_before_a_window() -> None:
    dataset = make_dicom(np.array([[0, 10], [11, 50]], dtype=np.uint16), WindowCenter=1, WindowWidth=2)
    dataset.VOILUTSequence = make_sequence(LUTDescriptor=[3, 10, 8], LUTData=[0, 51, 255])
    dataset.VOILUTSequence[0]["LUTDescriptor"].VR = "US"
    dataset.VOILUTSequence[0]["LUTData"].VR = "US"
    image = read_one(dataset)
    assert isinstance(image.display, DisplayTable)
    assert image.display.brighten(image.values[0].astype(float)).tolist() == [[0.0, 0.0], [0.2, 1.0]]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize(("dtype", "high"), [("uint8", 255), ("uint16", 4095), ("int16", 2047)])
def test_lossless_compression_gives_the_same_pixels(syntax: Any, dtype: str, high: int) -> None:
    low, bits = (-2048 if dtype == "int16" else 0), (8 if high == 255 else 12)
    stored = draw((2, 64, 65), dtype, low, high)
    dataset = make_dicom(stored, BitsStored=bits, HighBit=bits - 1)
    dataset.compress(syntax)
    found = read_frames(to_bytes(dataset))
    assert [frame.image.values[0].tolist() for frame in found] == stored.tolist()


def test_baseline_jpeg_is_what_pillow_decodes() -> None:
    grey = draw((16, 16), "uint8", 0, 255)
    out = io.BytesIO()
    PIL.Image.fromarray(grey).save(out, "JPEG", quality=90)
    dataset = encapsulate_frames(make_dicom(grey), [out.getvalue()], JPEGBaseline8Bit)
    decoded = np.array(PIL.Image.open(io.BytesIO(out.getvalue())))
    assert read_one(dataset).values[0].tolist() == decoded.tolist()


def test_lossless_jpeg_of_one_flat_image_is_exact() -> None:
    assert read_one(make_flat_lossless_jpeg()).values.tolist() == [[[128.0] * 4] * 4]


def test_decoder_that_was_killed_is_started_again() -> None:
    flat = to_bytes(make_flat_lossless_jpeg())
    read_frames(flat)
    worker = decoder_process._DECODER._process
    assert worker is not None
    worker.kill()
    worker.wait()
    with pytest.raises(DataError, match="damaged"):
        read_frames(flat)
    assert read_frames(flat)[0].image.values.max() == 128


def test_decoder_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder_process._DECODER.stop()  # a new one needs some time to start
    monkeypatch.setattr(decoder_process, "MOST_S", 0.0)
    with pytest.raises(DataError, match="damaged"):
        read_frames(to_bytes(make_flat_lossless_jpeg()))


def test_real_compressed_files_are_read_with_their_header_s_size() -> None:
    sizes = {
        "JPEG-LL.dcm": (1, 1024, 256), "MR2_J2KI.dcm": (1, 1024, 1024), "US1_J2KR.dcm": (3, 480, 640),
        "RG1_J2KI.dcm": (1, 1955, 1841), "OT-PAL-8-face.dcm": (3, 480, 640), "bad_sequence.dcm": (1, 512, 512),
    }  # fmt: skip
    for name, size in sizes.items():
        (image,) = read_images(shared(f"dicom/{name}"))
        assert image.values.shape == size


def test_real_file_written_in_five_ways_has_the_same_pixels() -> None:
    plain = read_images(shared("adapters/dicom/MR_small.dcm"))[0].values
    assert (plain.min(), plain.max()) == (127, 2145)
    for name in ("MR_small_RLE", "MR_small_bigendian", "MR_small_implicit"):
        (image,) = read_images(shared(f"adapters/dicom/{name}.dcm"))
        np.testing.assert_array_equal(image.values, plain)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_truncated.dcm", "fewer pixels than it says"),
        ("reportsi.dcm", "holds no image"),
        ("rtplan_truncated.dcm", "holds no image"),
        ("rtdose_1frame.dcm", "map of doses"),
        ("no_meta.dcm", "no image of a known kind"),
        ("nested_priv_SQ.dcm", "does not describe its pixels"),
        ("empty_charset_LEI.dcm", "holds no image"),
    ],
)
def test_real_file_that_is_no_image_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_images(shared(f"adapters/dicom/{name}"))


def test_file_without_its_first_part_is_read() -> None:
    stored = draw((4, 4), "uint16", 0, 99)
    whole = to_bytes(make_dicom(stored))
    rest = whole[whole.index(b"\x08\x00\x16\x00UI") :]  # from the class of the object on
    (image,) = read_images(rest)
    assert image.values[0].tolist() == stored.tolist()


def test_file_that_is_a_tiff_picture_too_is_read_as_dicom() -> None:
    stored = draw((4, 4), "uint8", 0, 255)
    data = b"II*\x00" + to_bytes(make_dicom(stored))[4:]
    assert read_images(data)[0].values[0].tolist() == stored.tolist()


def test_compressed_frame_of_another_size_is_refused_before_it_is_decoded() -> None:
    out = io.BytesIO()
    PIL.Image.fromarray(np.zeros((64, 64), np.uint8)).save(out, "JPEG")
    dataset = encapsulate_frames(make_dicom(np.zeros((8, 8), np.uint8)), [out.getvalue()], JPEGBaseline8Bit)
    with pytest.raises(DataError, match="another size"):
        read_one(dataset)
    data = to_bytes(make_dicom(np.zeros((8, 8), np.uint16), Rows=65535, Columns=65535))
    with pytest.raises(DataError, match="more than"):
        read_frames(data)


def test_damaged_lossless_jpeg_is_refused_not_shown() -> None:
    data = bytearray(shared("dicom/JPEG-LL.dcm"))
    for place in range(60_000, 60_040):
        data[place] ^= 0x5A
    with pytest.raises(DataError, match="damaged"):
        read_images(bytes(data))


def test_name_in_a_header_is_in_no_error_log_or_result(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = make_dicom(draw((4, 4), "uint16", 0, 9))
    dataset.StudyDate = "19990909"
    data = to_bytes(dataset).replace(b"19990909", SECRET[:8].encode())  # no date: pydicom quotes such values
    told = [repr(image) for image in read_images(data)]
    caplog.set_level(logging.DEBUG)
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        try:
            told += [repr(image) for image in read_images(bytes(changed))]
        except DataError as error:
            told.append(f"{error!r} {error.__cause__!r}")
    out = capfd.readouterr()
    for text in (*told, caplog.text, out.out, out.err):
        assert "Quagga" not in text


def test_tags_are_read_that_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", make_dicom(draw((2, 2), "uint8", 0, 9), AccessionNumber="A 7"))
    assert read_tags(path, ["PatientID", "AccessionNumber", "StudyID"]) == {
        "PatientID": "P-1", "AccessionNumber": "A 7", "StudyID": "",
    }  # fmt: skip
    other = tmp_path / "b.txt"
    other.write_text("no DICOM")
    assert read_tags(other, ["PatientID"]) is None


def test_keyword_that_is_a_name_or_unknown_is_refused() -> None:
    check_keyword("AccessionNumber")
    with pytest.raises(SiteConfigError, match="two people may have one name"):
        check_keyword("PatientName")
    with pytest.raises(SiteConfigError, match="no tag of DICOM"):
        check_keyword("Patient-ID")


@pytest.mark.parametrize("begin", [0, 132], ids=["with the first part", "without"])
def test_deflated_file_is_refused_before_it_is_inflated(
    tmp_path: Path, begin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dicom(np.zeros((512, 512), np.uint8))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.3")
    dataset.file_meta.PrivateInformation = bytes(4096)
    data = to_bytes(dataset)[begin:]
    assert len(data) < 512 * 512 // 8  # it would grow

    def inflate(*_: Any) -> bytes:
        raise AssertionError("the file was inflated")

    monkeypatch.setattr("pydicom.filereader.zlib.decompress", inflate)
    with pytest.raises(DataError, match="is deflated"):
        read_frames(data)
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with pytest.raises(DataError, match="is deflated"):
        read_tags(path, ["PatientID"])
