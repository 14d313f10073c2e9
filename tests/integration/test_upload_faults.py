"""Uploads that end badly by no fault of theirs: a full disk, a killed API."""

import io
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from api_process import Api, api_process

from shared import scratch
from shared.settings import Settings

pytestmark = pytest.mark.services

MEGABYTE = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir()
    return made


@pytest.fixture
def on_disk(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"scratch_dir": folder})


def npz(images: int = 40) -> bytes:
    file, random = io.BytesIO(), np.random.RandomState(0)
    parts = {"train": images, "test": 8}
    arrays = {f"{s}_images": random.randint(0, 256, (n, 32, 32, 3), np.uint8)
              for s, n in parts.items()}  # fmt: skip
    np.savez(file, **arrays, **{f"{s}_labels": np.arange(n) % 4 for s, n in parts.items()})
    return file.getvalue()


def put(api: Api, data: bytes) -> httpx.Response:
    with httpx.Client(base_url=api.url, timeout=60, trust_env=False) as client:
        return client.put("/v1/datasets/mine", content=data)


def room(api: Api, size: int) -> None:
    """What a full disk is to the API: a file of its own cannot grow beyond this size."""
    _, most = resource.prlimit(api.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(api.child.pid, resource.RLIMIT_FSIZE, (size, most))


@pytest.mark.parametrize("size", [0, MEGABYTE])
def test_a_full_disk_is_507_and_leaves_nothing(on_disk: Settings, folder: Path, size: int) -> None:
    data = npz(1000)
    assert len(data) > 2 * MEGABYTE
    with api_process(on_disk) as api:
        room(api, size)
        answer = put(api, data)
        assert answer.status_code == 507, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert "HUBEL_SCRATCH_DIR" in answer.json()["detail"]
        assert str(folder) not in answer.text
        assert list(folder.iterdir()) == []
        room(api, resource.RLIM_INFINITY)
        assert put(api, data).status_code == 201
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_while_arrays_are_unpacked_is_507(
    on_disk: Settings, folder: Path
) -> None:
    file = io.BytesIO()
    images = np.zeros((2000, 32, 32, 3), np.uint8)
    np.savez_compressed(file, train_images=images, train_labels=np.arange(2000) % 4,
                        test_images=images[:8], test_labels=np.arange(8) % 4)  # fmt: skip
    assert len(file.getvalue()) < MEGABYTE
    with api_process(on_disk) as api:
        room(api, MEGABYTE)
        assert put(api, file.getvalue()).status_code == 507
    assert list(folder.iterdir()) == []


def begin(api: Api) -> socket.socket:
    """An upload of which one megabyte has come."""
    connection = socket.create_connection(api.address, 10)
    head = b"PUT /v1/datasets/mine HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
    connection.sendall(head + bytes(2 * MEGABYTE))
    return connection


def await_that(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def uploads(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if any(path.iterdir())]


def test_what_a_killed_api_has_left_is_removed_and_what_a_living_one_uses_is_not(
    on_disk: Settings, folder: Path
) -> None:
    with api_process(on_disk) as killed, api_process(on_disk) as living:
        with begin(killed):
            await_that(lambda: uploads(folder))
            (left,) = uploads(folder)
            killed.child.kill()
        assert left.is_dir()
        with begin(living):
            await_that(lambda: len(uploads(folder)) == 2)
            (used,) = {*uploads(folder)} - {left}
            with api_process(on_disk):
                assert not left.exists()
                assert (used / "upload.npz").stat().st_size >= MEGABYTE
        await_that(lambda: not used.exists())


@pytest.mark.parametrize("kind", [scratch.UPLOAD, scratch.PREPARE, scratch.FETCH])
def test_a_folder_that_is_in_use_is_not_abandoned(folder: Path, kind: str) -> None:
    used, dead = scratch.Folder(folder, kind), scratch.Folder(folder, kind)
    os.close(dead._lock)
    (folder / "hubel-upload-link").symlink_to(folder.parent)
    (folder / "another").mkdir()
    scratch.remove_abandoned(folder)
    assert {path.name for path in folder.iterdir()} == {
        used.path.name, "hubel-upload-link", "another"
    }  # fmt: skip
    used.remove()
    assert not used.path.exists()
