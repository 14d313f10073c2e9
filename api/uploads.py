"""A data set of one's own, as it arrives: spooled to disk, decoded, stored, named."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from api import limits
from shared import dataset_store, scratch
from shared.arrays import Summary
from shared.datasets import CATALOG
from shared.errors import Conflict, Fault, Invalid, TooLarge
from shared.npz import read_npz
from shared.settings import Settings
from shared.spec import DATASET_NAME
from shared.storage import Storage

SPOOL_BYTES = 1 << 20


async def receive(
    name: str,
    body: AsyncIterator[bytes],
    content_length: int | None,
    store: Storage,
    settings: Settings,
    admit_still: Callable[[], Awaitable[None]],
) -> tuple[Summary, bool]:
    """Store the .npz in `body` by its digest and let `name` point to it; False: it already did.
    `admit_still` raises once whoever sends it may no longer: a body may take hours.

    At any error, a client that goes away included, nothing stays on this machine's disk.
    """
    _check_name(name)
    limit = settings.max_dataset_bytes
    _check_length(content_length or 0, limit)
    with scratch.room(settings.scratch):
        folder = scratch.Folder(settings.scratch)
        try:
            await _spool(body, folder.path / "upload.npz", limit)
            await admit_still()
        except BaseException:
            folder.remove()
            raise
        # The thread removes the folder: it works on when its caller is cancelled.
        return await asyncio.to_thread(_decode, name, folder, store, limit)


def _check_name(name: str) -> None:
    if not re.fullmatch(DATASET_NAME, name):
        message = (
            f"{name[:80]!a} cannot name a data set: 1 to 64 of a-z 0-9 _ . - are allowed, the "
            "first a letter or digit"
        )
        raise Invalid(message, [Fault("/name", "name", message)])
    if name in CATALOG:
        raise Conflict(f"'{name}' is built in and keeps its meaning: choose another name")


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise TooLarge(
            f"The upload has {length} bytes or more, {limit} are allowed"
            " (HUBEL_MAX_DATASET_BYTES): compress it, or give fewer images"
        )


async def _spool(body: AsyncIterator[bytes], path: Path, limit: int) -> None:
    waiting, length = bytearray(), 0
    with path.open("wb") as file:
        while (piece := await _next(body)) is not None:
            length += len(piece)
            _check_length(length, limit)
            waiting += piece
            if len(waiting) >= SPOOL_BYTES:
                await asyncio.to_thread(file.write, waiting)
                waiting = bytearray()
        await asyncio.to_thread(file.write, waiting)


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    """A whole upload may take hours, but it has to come on."""
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            return await anext(body, None)
    except TimeoutError:
        seconds = f"{limits.BODY_SECONDS:.0f} s"
        raise limits.TooSlow(f"No byte of the upload arrived for {seconds}: send it anew") from None


def _decode(name: str, folder: scratch.Folder, store: Storage, limit: int) -> tuple[Summary, bool]:
    try:
        arrays = folder.path / "arrays"
        arrays.mkdir()
        summary = read_npz(folder.path / "upload.npz", arrays, limit)
        dataset_store.keep(summary, arrays, store)
    finally:
        folder.remove()
    return summary, dataset_store.point(name, summary, store)
