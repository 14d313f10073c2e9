"""Any bytes can be uploaded: they are a data set, or they are refused with a reason."""

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.arrays import NAMES, Arrays, Summary, load, write_arrays
from shared.errors import Fault, Invalid, TooLarge
from shared.npz import read_npz

LIMIT = 1 << 20
Read = Callable[[bytes], Summary]


def valid(**changes: Any) -> dict[str, Any]:
    """The arrays of a small data set with some changed, or dropped where given None."""
    rng = np.random.RandomState(0)
    arrays = {
        "train_images": rng.randint(0, 256, (12, 8, 10, 3), np.uint8),
        "train_labels": np.arange(12) % 3,
        "test_images": rng.randint(0, 256, (6, 8, 10, 3), np.uint8),
        "test_labels": np.arange(6) % 3,
    } | changes
    return {name: array for name, array in arrays.items() if array is not None}


def npz(arrays: dict[str, Any], save: Callable[..., None] = np.savez) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def files(**changes: bytes) -> dict[str, bytes]:
    return {f"{n}.npy": npy(a) for n, a in valid().items()} | {
        f"{name}.npy": data for name, data in changes.items()
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    out = tmp_path / "out"
    out.mkdir()
    return tmp_path / "upload.npz", out


@pytest.fixture
def read(folders: tuple[Path, Path]) -> Read:
    upload, out = folders

    def run(data: bytes) -> Summary:
        upload.write_bytes(data)
        return read_npz(upload, out, LIMIT)

    return run


@pytest.fixture
def refused(read: Read, folders: tuple[Path, Path]) -> Callable[[bytes], list[Fault]]:
    def run(data: bytes) -> list[Fault]:
        with pytest.raises(Invalid) as caught:
            read(data)
        assert list(folders[1].iterdir()) == []
        assert caught.value.faults[0].message in caught.value.detail
        return caught.value.faults

    return run


Refused = Callable[[bytes], list[Fault]]


def only(faults: list[Fault]) -> tuple[str, str]:
    assert len(faults) == 1
    return faults[0].pointer, faults[0].code


# --- what is accepted ----------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_upload_equals_the_same_arrays_in_memory(
    read: Read, folders: tuple[Path, Path], tmp_path: Path, save: Callable[..., None]
) -> None:
    arrays = valid()
    assert write_arrays(Arrays(**arrays), tmp_path) == read(npz(arrays, save))
    for name, array in arrays.items():
        assert np.array_equal(getattr(load(folders[1]), name), array)


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "|u1", "|i1", ">u2", "<u4", ">i4", "<u8"])
def test_labels_may_be_of_any_integer_type(read: Read, dtype: str) -> None:
    labels = valid()["train_labels"].astype(dtype)
    assert read(npz(valid())) == read(npz(valid(train_labels=labels)))


def test_fortran_order_is_put_right(read: Read) -> None:
    images = np.asfortranarray(valid()["train_images"])
    assert read(npz(valid())) == read(npz(valid(train_images=images)))


def test_images_without_a_channel_axis_have_one_channel(read: Read) -> None:
    grey = {f"{s}_images": valid()[f"{s}_images"][..., 0] for s in ("train", "test")}
    columns = {name: images[..., None] for name, images in grey.items()}
    assert read(npz(valid(**grey))).shape == (8, 10, 1)
    assert read(npz(valid(**grey))) == read(npz(valid(**columns)))


def test_names_of_classes_set_their_number(read: Read) -> None:
    summary = read(npz(valid(classes=np.array(["cat", "dog", "æther", "空"]))))
    assert summary.class_names == ("cat", "dog", "æther", "空")
    assert summary.classes == 4
    swapped = np.array(["cat", "dog"] * 2, ">U9")
    swapped[2:] = ["æther", "空"]
    assert read(npz(valid(classes=swapped))) == summary


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_npy_is_read(read: Read, version: tuple[int, int]) -> None:
    images = npy(valid()["train_images"], version)
    assert read(npz(valid())) == read(zipped(files(train_images=images)))


def test_headers_of_other_writers_are_read(read: Read) -> None:
    text = b'{"shape":(12,), "fortran_order":False, "descr":"<i8"}\n'
    labels = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
    labels += valid()["train_labels"].astype("<i8").tobytes()
    assert read(npz(valid())) == read(zipped(files(train_labels=labels)))


# --- what is refused -----------------------------------------------------------------------

IMAGES = valid()["train_images"]
LABELS = valid()["train_labels"]
ZEROS = 0 * LABELS[:6]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train_images": None}, ("/train_images", "missing")),
        ({"extra": LABELS}, ("/extra", "unexpected")),
        ({"train_images": IMAGES.astype(np.float32)}, ("/train_images", "dtype")),
        ({"train_images": IMAGES.astype(np.int8)}, ("/train_images", "dtype")),
        ({"train_images": IMAGES[..., 0, 0]}, ("/train_images", "shape")),
        ({"train_images": IMAGES[..., :2]}, ("/train_images", "shape")),
        ({"train_images": IMAGES.transpose(0, 3, 1, 2)}, ("/train_images", "shape")),
        ({"train_images": IMAGES[:, :7]}, ("/train_images", "shape")),
        ({"train_images": np.zeros((12, 8, 257, 3), np.uint8)}, ("/train_images", "shape")),
        ({"test_images": valid()["test_images"][:, :, :9]}, ("/test_images", "shape")),
        ({"train_labels": LABELS[:-1]}, ("/train_labels", "count")),
        ({"train_labels": np.arange(12.0) % 3}, ("/train_labels", "dtype")),
        ({"train_labels": np.eye(12, dtype=int)}, ("/train_labels", "shape")),
        ({"train_labels": LABELS > 1}, ("/train_labels", "dtype")),
        ({"train_labels": LABELS - 1}, ("/train_labels", "label")),
        ({"train_labels": LABELS + 998}, ("/train_labels", "label")),
        ({"train_labels": np.array([2**64 - 1] + [0] * 11, "u8")}, ("/train_labels", "label")),
        ({"classes": np.array(["a", "b"]), "test_labels": ZEROS}, ("/train_labels", "label")),
        ({"train_labels": 0 * LABELS, "test_labels": ZEROS}, ("/train_labels", "label")),
        ({"classes": np.array(["a"])}, ("/classes", "classes")),
        ({"classes": np.arange(3)}, ("/classes", "classes")),
        ({"classes": np.array([b"a", b"b", b"c"])}, ("/classes", "classes")),
        ({"classes": np.array([["a", "b", "c"]])}, ("/classes", "classes")),
        ({"classes": np.array(["a", "b", "a"])}, ("/classes", "classes")),
        ({"classes": np.array(["a", "b", ""])}, ("/classes", "classes")),
        ({"classes": np.array(["a", "b", "c" * 121])}, ("/classes", "classes")),
        ({"classes": np.array(["a", "b", "\n"])}, ("/classes", "classes")),
        ({"classes": np.array(["a", "b", "\ud800"])}, ("/classes", "archive")),
        ({"classes": np.array([str(i) for i in range(1001)])}, ("/classes", "classes")),
        ({"classes": np.array(["a", "b", "c" * 200_000])}, ("/classes", "classes")),
        ({"classes": np.array(["a", "b", "c"], object)}, ("/classes", "archive")),
        ({"train_labels": LABELS.astype(object)}, ("/train_labels", "archive")),
        ({"train_labels": np.zeros(12, [("a", "i4")])}, ("/train_labels", "archive")),
        ({"train_labels": LABELS.astype("M8[s]")}, ("/train_labels", "archive")),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused_by_name(
    refused: Refused, changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert only(refused(npz(valid(**changes)))) == expected


def test_no_images_are_refused(refused: Refused) -> None:
    faults = refused(npz(valid(test_images=IMAGES[:0], test_labels=LABELS[:0])))
    assert only(faults) == ("/test_images", "shape")


def test_several_faults_are_named_at_once(refused: Refused) -> None:
    faults = refused(npz(valid(train_images=IMAGES / 255, test_labels=LABELS[:2])))
    assert {fault.pointer for fault in faults} == {"/train_images", "/test_labels"}


def test_pickled_objects_are_never_loaded(refused: Refused, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    traps = np.array([Trap()] * 12, object)
    faults = refused(npz(valid(train_labels=traps), lambda f, **a: np.savez(f, **a)))
    assert "pickled" in faults[0].message
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("data", [b"", b"PK", b"hello" * 100, b"\x00" * 5000, npy(LABELS)])
def test_what_is_no_zip_is_refused(refused: Refused, data: bytes) -> None:
    assert only(refused(data)) == ("", "archive")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_truncation_is_refused(refused: Refused, save: Callable[..., None]) -> None:
    data = npz(valid(), save)
    for length in (*range(1, len(data), 97), len(data) - 1):
        refused(data[:length])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_byte_of_an_image_is_refused(refused: Refused, save: Any) -> None:
    data = bytearray(npz(valid(), save))
    data[600] ^= 0x40
    assert only(refused(bytes(data))) == ("/train_images", "archive")


def test_an_array_cut_short_inside_its_member_is_refused(refused: Refused) -> None:
    assert only(refused(zipped(files(train_images=npy(IMAGES)[:-1]))))[0] == "/train_images"
    assert only(refused(zipped(files(train_images=npy(IMAGES) + b"x"))))[0] == "/train_images"


def test_one_name_twice_is_refused(refused: Refused) -> None:
    file = io.BytesIO(zipped(files()))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(file, "a") as archive:
        archive.writestr("test_labels.npy", npy(LABELS[:6]))
    assert only(refused(file.getvalue())) == ("", "duplicate")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_bounded_is_refused(refused: Refused, method: int) -> None:
    assert {fault.code for fault in refused(zipped(files(), method))} == {"compression"}


def test_encrypted_members_are_refused(refused: Refused) -> None:
    data = bytearray(zipped(files()))
    first = data.index(b"PK\x01\x02")
    data[first + 8] |= 1
    assert only(refused(bytes(data))) == ("/train_images", "encrypted")


def test_members_that_share_bytes_are_refused(refused: Refused) -> None:
    data = bytearray(zipped(files()))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 1)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    assert only(refused(bytes(data))) == ("", "overlap")


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<i8', 'fortran_order': False}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (12,), 'x': 1}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (-12,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': 12}",
        "{'descr': '<i8', 'fortran_order': 'False', 'shape': (12,)}",
        "{'descr': True, 'fortran_order': False, 'shape': (12,)}",
        "{'descr': 'i4,i4', 'fortran_order': False, 'shape': (12,)}",
        "{'descr': '<i3', 'fortran_order': False, 'shape': (12,)}",
        "{'descr': '<f999999999', 'fortran_order': False, 'shape': (12,)}",
        "-" * 60_000,
        "(" * 60_000,
        "",
    ],
)  # fmt: skip
def test_odd_headers_are_refused(refused: Refused, text: str) -> None:
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    faults = refused(zipped(files(train_labels=head + LABELS.astype("<i8").tobytes())))
    assert only(faults) == ("/train_labels", "archive")


def test_a_header_of_megabytes_is_refused(refused: Refused) -> None:
    head = b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 24) + b" " * (1 << 24)
    assert "65536 are allowed" in refused(zipped(files(train_labels=head)))[0].message


# --- what is too much ----------------------------------------------------------------------


def test_what_unpacks_to_more_than_the_limit_is_too_large(
    read: Read, folders: tuple[Path, Path]
) -> None:
    images = np.zeros((LIMIT // 240 + 1, 8, 10, 3), np.uint8)
    labels = np.arange(len(images)) % 3
    data = npz(valid(train_images=images, train_labels=labels), np.savez_compressed)
    assert len(data) < LIMIT / 50
    with pytest.raises(TooLarge, match="HUBEL_MAX_DATASET_BYTES"):
        read(data)
    assert list(folders[1].iterdir()) == []


def test_a_bomb_that_lies_about_its_size_is_refused(refused: Refused) -> None:
    bomb = npy(IMAGES) + bytes(50 << 20)
    data = bytearray(zipped(files(train_images=bomb)))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", len(npy(IMAGES)))
    assert only(refused(bytes(data))) == ("/train_images", "archive")


def test_a_list_of_members_of_megabytes_is_not_read(refused: Refused) -> None:
    data = zipped({f"{i}{'x' * 100}": b"" for i in range(10_000)})
    assert "list of members" in refused(data)[0].message


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, (20_000, 32, 32, 3), np.uint8)
    labels = np.arange(len(images)) % 3
    tests = {"test_images": images[:5], "test_labels": labels[:5]}
    upload = tmp_path / "large.npz"
    upload.write_bytes(npz(tests | {"train_images": images, "train_labels": labels}))
    del images
    tracemalloc.start()
    try:
        read_npz(upload, tmp_path, 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


# --- what is only an archive by name -------------------------------------------------------


def with_member(name: str, data: bytes, **facts: Any) -> bytes:
    """A good data set with one member more, of which these things are said."""
    file = io.BytesIO(zipped(files()))
    with zipfile.ZipFile(file, "a") as archive:
        info = zipfile.ZipInfo(name)
        for fact, value in facts.items():
            setattr(info, fact, value)
        archive.writestr(info, data)
    return file.getvalue()


def patched(data: bytes, offset: int, value: bytes, entry: int = 0) -> bytes:
    """With other bytes in the `entry`-th line of the list of members."""
    changed, at = bytearray(data), -1
    for _ in range(entry + 1):
        at = data.index(b"PK\x01\x02", at + 1)
    changed[at + offset : at + offset + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize(
    "name", ["../train_images.npy", "/train_images.npy", "train_images.npy/", "TRAIN_IMAGES.npy",
             "..\\..\\x.npy", "train_images", "a" * 60_000, "\N{GRINNING FACE}" * 10_000],
    ids=lambda name: name[:20],
)  # fmt: skip
def test_a_member_of_another_name_is_refused_and_written_nowhere(
    refused: Refused, folders: tuple[Path, Path], name: str
) -> None:
    fault = refused(with_member(name, npy(IMAGES)))[0]
    assert fault.code in ("unexpected", "archive")
    assert len(fault.pointer) <= 61
    assert {path.name for path in folders[0].parent.iterdir()} == {"upload.npz", "out"}


def test_a_link_is_what_it_holds_and_is_never_followed(refused: Refused) -> None:
    members = files()
    del members["train_images.npy"]
    file = io.BytesIO(zipped(members))
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo("train_images.npy")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert only(refused(file.getvalue())) == ("/train_images", "archive")


def test_an_archive_within_an_archive_is_no_array(refused: Refused) -> None:
    inner = zipped(files())
    assert only(refused(zipped(files(train_images=inner)))) == ("/train_images", "archive")


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**32 - 1])
def test_a_member_that_lies_about_its_size_is_refused(refused: Refused, size: int) -> None:
    data = patched(zipped(files()), 24, struct.pack("<I", size))
    assert only(refused(data)) == ("/train_images", "archive")


@pytest.mark.parametrize("size", [2**32, 2**40, 2**63 - 1, 2**64 - 1])
@pytest.mark.parametrize("shape", [(12, 8, 10, 3), (999_999_999_999, 8, 10, 3)])
def test_what_claims_petabytes_is_refused_without_looking_for_them(
    read: Read, folders: tuple[Path, Path], size: int, shape: tuple[int, ...]
) -> None:
    """By the 64-bit sizes of the zip and by the shape in the array's header."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    claim = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    data = with_size(zipped(files(train_images=claim + IMAGES.tobytes())), size)
    with pytest.raises((Invalid, TooLarge)):
        read(data)
    assert list(folders[1].iterdir()) == []


def with_size(data: bytes, size: int) -> bytes:
    """The first member's size as a zip64 field, which says whatever it likes."""
    entry = data.index(b"PK\x01\x02")
    name, extra = struct.unpack("<HH", data[entry + 28 : entry + 32])
    field = struct.pack("<HHQ", 1, 8, size)
    line = bytearray(data[entry : entry + 46 + name + extra])
    line[24:28] = b"\xff" * 4
    line[30:32] = struct.pack("<H", extra + len(field))
    rest = bytearray(data[entry + len(line) :])
    end = rest.index(b"PK\x05\x06")
    (length,) = struct.unpack("<I", rest[end + 12 : end + 16])
    rest[end + 12 : end + 16] = struct.pack("<I", length + len(field))
    return data[:entry] + bytes(line) + field + bytes(rest)


def test_the_honest_size_as_a_64_bit_field_is_read(read: Read) -> None:
    data = zipped(files())
    assert read(with_size(data, len(npy(IMAGES)))) == read(data)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (6, b"\xff\x00"),  # needs a version of zip that nobody has
        (8, b"\x20\x00"),  # patched data
        (8, b"\x40\x00"),  # strong encryption
        (10, b"\x09\x00"),  # deflate64
        (10, b"\x63\x00"),  # AES
        (16, b"\x00\x00\x00\x00"),  # another checksum
        (20, b"\x01\x00\x00\x00"),  # hardly any data
        (20, b"\xff\xff\xff\x7f"),  # more data than the file has
        (42, b"\xff\xff\xff\x7f"),  # beyond the end
    ],
)
def test_a_list_of_members_that_says_what_is_not_so_is_refused(
    read: Read, folders: tuple[Path, Path], offset: int, value: bytes
) -> None:
    data = patched(zipped(files()), offset, value)
    with pytest.raises(Invalid):
        read(data)
    assert list(folders[1].iterdir()) == []


# --- any bytes -----------------------------------------------------------------------------

STORED, PACKED = npz(valid()), npz(valid(classes=np.array(list("abc"))), np.savez_compressed)
TURNED = npz(valid(train_images=np.asfortranarray(IMAGES)))
byte_changes = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6)


def decode_or_refuse(data: bytes, folders: tuple[Path, Path]) -> None:
    upload, out = folders
    upload.write_bytes(data)
    try:
        summary = read_npz(upload, out, LIMIT)
    except (Invalid, TooLarge):
        assert list(out.iterdir()) == []
    else:
        assert sorted(path.stem for path in out.iterdir()) == sorted(NAMES)
        assert load(out).train_images.shape == (summary.train, *summary.shape)
        for path in out.iterdir():
            path.unlink()


fuzzed = settings(
    deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzzed
@given(st.sampled_from([STORED, PACKED, TURNED]), byte_changes)
def test_changed_bytes_decode_or_are_refused(
    folders: tuple[Path, Path], data: bytes, changes: list[tuple[float, int]]
) -> None:
    changed = bytearray(data)
    for where, value in changes:
        changed[min(int(where * len(data)), len(data) - 1)] = value
    decode_or_refuse(bytes(changed), folders)


@fuzzed
@given(st.sampled_from([STORED, PACKED, TURNED]), byte_changes)
def test_changed_directories_decode_or_are_refused(
    folders: tuple[Path, Path], data: bytes, changes: list[tuple[float, int]]
) -> None:
    start = data.index(b"PK\x01\x02")
    changed = bytearray(data)
    for where, value in changes:
        changed[start + min(int(where * (len(data) - start)), len(data) - start - 1)] = value
    decode_or_refuse(bytes(changed), folders)


@fuzzed
@given(byte_changes)
def test_changed_headers_decode_or_are_refused(
    folders: tuple[Path, Path], changes: list[tuple[float, int]]
) -> None:
    for name in ("train_images", "train_labels"):
        member = bytearray(files()[f"{name}.npy"])
        for where, value in changes:
            member[min(int(where * 128), 127)] = value
        decode_or_refuse(zipped(files(**{name: bytes(member)})), folders)


@fuzzed
@given(st.binary(max_size=400), st.binary(max_size=400))
def test_any_bytes_are_refused(folders: tuple[Path, Path], front: bytes, back: bytes) -> None:
    decode_or_refuse(front, folders)
    decode_or_refuse(front + STORED[-600:] + back, folders)
