"""Reading an uploaded .npz, which may hold anything: in a stream, with every claim checked.

Nothing is unpickled, no size is believed, and a few MB are held whatever the file says; images in
Fortran order go through a mapped file beside the output.
It holds `train_images`, `train_labels`, `test_images`, `test_labels` and, if wanted, `classes`
(names, 1-D text). What is allowed in them is in `layout.py`.
"""

import errno
import io
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from shared import npy
from shared.arrays import NAMES, Summary, write_chunks
from shared.errors import Fault, TooLarge
from shared.layout import MAX_CLASSES, check_layout, refuse

CHUNK_BYTES = 3 << 17  # whole pixels of 1 or 3 channels, whole labels of 1 to 8 bytes
LOCAL_HEADER_BYTES = 30  # of a zip member, without its name
READ_BYTES = 512 << 10
BLOCK_BYTES = 8 << 20
CLASSES_BYTES = 1 << 20
NAME_CHARACTERS = 120
MAKE_ONE = "write the file anew with numpy.savez or savez_compressed"
_NO_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)
"""All that zipfile is known to raise on bytes that are no good archive."""


def read_npz(path: Path, out_dir: Path, limit_bytes: int) -> Summary:
    """Decode `path` into four canonical files in `out_dir`; on any error nothing is left there.

    Raises Invalid (what is wrong, in which array) or TooLarge, whatever the bytes are.
    """
    with path.open("rb", buffering=0) as raw, _Reader(raw) as file:
        with _refusing("", "not a readable .npz archive"):
            archive = zipfile.ZipFile(file)
        with archive:
            members = _members(archive)
            headers = {name: _header(archive, name, info) for name, info in members.items()}
            names = _class_names(archive, members, headers)
            layout = check_layout({n: (headers[n].dtype, headers[n].shape) for n in NAMES}, names)
            _check_size(sum(layout.size(name) for name in NAMES), limit_bytes)
            chunks = {n: _chunks(archive, n, members[n], headers[n], out_dir) for n in NAMES}
            return write_chunks(layout, chunks, out_dir)


class _Reader(io.BufferedReader):
    """zipfile reads its list of members at once, of whatever size the file claims it to be."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > READ_BYTES:
            raise zipfile.BadZipFile(f"its list of members claims {size} bytes")
        return super().read(size)


@contextmanager
def _refusing(pointer: str, problem: str = "cannot be read") -> Iterator[None]:
    try:
        yield
    except _NO_ARCHIVE as error:
        reason = str(error)[:200] or "it ends early"
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to before the beginning
            raise
        reason = "it points outside of itself"
    else:
        return
    refuse([Fault(pointer, "archive", f"{problem} ({reason}): {MAKE_ONE}")])


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(
            f"The data set unpacks to {size} bytes, {limit} are allowed (HUBEL_MAX_DATASET_BYTES):"
            " give fewer or smaller images"
        )


# --- members -------------------------------------------------------------------------------


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Array name -> member; exactly the names we know, each once, each readable."""
    known = {f"{name}.npy": name for name in (*NAMES, "classes")}
    infos = archive.infolist()
    found = {known[i.filename]: i for i in infos if i.filename in known}
    faults = [
        Fault(f"/{name}", "missing", f"missing; an .npz data set has {', '.join(NAMES)}")
        for name in NAMES
        if name not in found
    ]
    faults += [_unexpected(i.filename) for i in infos if i.filename not in known][:10]
    if len(found) < sum(i.filename in known for i in infos):
        faults.append(Fault("", "duplicate", "the archive holds one array twice: keep one"))
    for name, info in found.items():
        faults += _member_faults(name, info)
    refuse([*faults, *_overlap_faults(list(found.values()))])
    return found


def _unexpected(filename: str) -> Fault:
    shown = ascii(filename.removesuffix(".npy"))[1:-1][:60]
    message = f"not expected; besides {', '.join(NAMES)} only 'classes' is allowed: remove it"
    return Fault(f"/{shown}", "unexpected", message)


def _member_faults(name: str, info: zipfile.ZipInfo) -> Iterator[Fault]:
    if info.flag_bits & 1:
        yield Fault(f"/{name}", "encrypted", "encrypted; store it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        message = f"compressed by method {info.compress_type}; stored and deflate are allowed"
        yield Fault(f"/{name}", "compression", f"{message}: {MAKE_ONE}")


def _overlap_faults(infos: list[zipfile.ZipInfo]) -> Iterator[Fault]:
    infos.sort(key=lambda info: info.header_offset)
    for one, next_one in pairwise(infos):
        if one.header_offset + LOCAL_HEADER_BYTES + one.compress_size > next_one.header_offset:
            yield Fault("", "overlap", f"two arrays share the same bytes: {MAKE_ONE}")


# --- one member ----------------------------------------------------------------------------


def _header(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> npy.Header:
    with _refusing(f"/{name}"), archive.open(info) as member:
        header = npy.read(member)
        if info.file_size != header.offset + header.data_bytes:
            expected = header.offset + header.data_bytes
            raise ValueError(f"it has {info.file_size} bytes, its header says {expected}")
    return header


def _read(
    archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo, header: npy.Header
) -> Iterator[np.ndarray]:
    """The data as stored, in flat pieces; the CRC is checked with the last byte."""
    with _refusing(f"/{name}"):
        member = archive.open(info)
    with member:
        left = header.data_bytes
        with _refusing(f"/{name}"):
            member.read(header.offset)
        while left:
            with _refusing(f"/{name}"):
                data = member.read(min(left, CHUNK_BYTES))
                if len(data) < min(left, CHUNK_BYTES):
                    raise EOFError
            left -= len(data)
            yield np.frombuffer(data, header.dtype)


def _chunks(
    archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo, header: npy.Header, folder: Path
) -> Iterator[np.ndarray]:
    stored = _read(archive, name, info, header)
    if not header.fortran or len(header.shape) < 2:
        yield from stored
        return
    # Of Fortran order no image is whole before the last byte has come: through a file.
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in stored:
            file.write(piece.data)
        file.flush()
        # Mapped, not read: the kernel may take these pages back at any time.
        array = np.memmap(file, header.dtype, "r", shape=header.shape, order="F")
        rows = max(1, BLOCK_BYTES // array[0].nbytes)
        for start in range(0, len(array), rows):
            yield np.ravel(array[start : start + rows], order="C")


def _class_names(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], headers: dict[str, npy.Header]
) -> tuple[str, ...] | None:
    if "classes" not in members:
        return None
    header = headers["classes"]
    if problem := _classes_problem(header):
        refuse([Fault("/classes", "classes", problem)])
    data = b"".join(
        piece.tobytes() for piece in _read(archive, "classes", members["classes"], header)
    )
    width = header.dtype.itemsize
    codec = "utf-32-be" if header.dtype.str[0] == ">" else "utf-32-le"
    with _refusing("/classes"):
        names = [data[i : i + width].decode(codec).rstrip("\0") for i in range(0, len(data), width)]
    _check_names(names)
    return tuple(names)


def _classes_problem(header: npy.Header) -> str | None:
    if header.dtype.kind != "U" or len(header.shape) != 1:
        return (
            f"dtype {header.dtype}, {len(header.shape)} dimensions; names of classes are 1-D text:"
            " numpy.array([...], dtype=str)"
        )
    if not 2 <= header.shape[0] <= MAX_CLASSES:
        return f"{header.shape[0]} names; 2 to {MAX_CLASSES} classes are allowed"
    if header.data_bytes > CLASSES_BYTES or header.data_bytes == 0:
        return f"{header.data_bytes} bytes of names; 1 to {CLASSES_BYTES} are allowed"
    return None


def _check_names(names: list[str]) -> None:
    for i, name in enumerate(names):
        if not (0 < len(name) <= NAME_CHARACTERS and name.isprintable()):
            message = f"name {i} is {name[:40]!a}; give 1 to {NAME_CHARACTERS} printable characters"
            refuse([Fault("/classes", "classes", message)])
    if len(set(names)) < len(names):
        refuse([Fault("/classes", "classes", "the same name twice: make them different")])
