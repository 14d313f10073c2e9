"""The header of an .npy file: written in one canonical way, and parsed without evaluating it.

https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import math
import re
from dataclasses import dataclass
from typing import IO

import numpy as np

MAGIC = b"\x93NUMPY"
HEADER_BYTES = 64 << 10

# Matched, never evaluated: literal_eval, which numpy uses, can exhaust the stack.
_ENTRY = re.compile(
    r"""\s*(?P<q>['"])(?P<key>descr|fortran_order|shape)(?P=q)\s*:\s*
    (?:(?P<p>['"])(?P<descr>[^'"]*)(?P=p)
      |(?P<fortran>True|False)
      |\((?P<shape>\s*(?:\d{1,12}\s*,\s*)*(?:\d{1,12}\s*)?)\))\s*(?:,|$)""",
    re.VERBOSE | re.ASCII,
)
_DTYPE = re.compile(r"[<>|=]?[biufcSU]\d{1,9}", re.ASCII)
_KEYS = (("descr", "descr"), ("fortran_order", "fortran"), ("shape", "shape"))


@dataclass(frozen=True)
class Header:
    """What an array says of itself; its data begin `offset` bytes into the file."""

    dtype: np.dtype
    fortran: bool
    shape: tuple[int, ...]
    offset: int

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def encode(descr: str, shape: tuple[int, ...]) -> bytes:
    """Version 1.0, C order, spelled here because numpy's padding changes between releases."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape!r}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def read(file: IO[bytes]) -> Header:
    """The header at the beginning of `file`. ValueError says what is wrong with any other bytes."""
    start = file.read(8)
    if start[:6] != MAGIC or start[6:7] not in (b"\x01", b"\x02", b"\x03"):
        raise ValueError("it does not begin as an .npy file does")
    size = file.read(2 if start[6:7] == b"\x01" else 4)
    length = int.from_bytes(size, "little")
    if length > HEADER_BYTES:
        raise ValueError(f"its header claims {length} bytes, {HEADER_BYTES} are allowed")
    return _parse(file.read(length).decode("latin1"), 8 + len(size) + length)


def _parse(text: str, offset: int) -> Header:
    descr, fortran, shape = _fields(text.strip())
    if "O" in descr:
        raise ValueError("it holds pickled objects, which are never loaded; give plain numbers")
    if not _DTYPE.fullmatch(descr):
        raise ValueError(f"its dtype is {descr[:30]!a}; give plain numbers")
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise ValueError(f"its dtype is {descr[:30]!a}; give plain numbers") from error
    sizes = tuple(int(size) for size in shape.split(",") if size.strip())
    return Header(dtype, fortran == "True", sizes, offset)


def _fields(text: str) -> list[str]:
    found: dict[str, re.Match[str]] = {}
    rest = text[1:-1].strip()
    while match := _ENTRY.match(rest):
        found[match["key"]] = match
        rest = rest[match.end() :].strip()
    values = [found[key][group] for key, group in _KEYS if key in found]
    if text[:1] + text[-1:] != "{}" or rest or len(values) < 3 or None in values:
        raise ValueError("its header describes no plain array")
    return values
