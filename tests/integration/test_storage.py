"""What Hubel asks of an object store, asked of a real one."""

import base64
import hashlib
import os
import socket
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from freezing import frozen
from pydantic import SecretStr

from shared import names
from shared.errors import Corrupt, NotFound, StoreUnavailable, StoreUnsuitable
from shared.settings import Settings
from shared.storage import Storage

if TYPE_CHECKING:
    from tests.conftest import Factory

pytestmark = pytest.mark.services


def test_what_was_written_is_read_back(storage: Storage) -> None:
    for data in (b"", b"x", os.urandom(3 << 20)):
        storage.write("a/b.bin", data)
        assert data == storage.read("a/b.bin")
        assert len(data) == storage.size("a/b.bin")


def test_json_is_written_densely_and_in_the_order_given(storage: Storage) -> None:
    storage.write_json("a.json", {"b": [1, 1.0, "é"], "a": None})
    body = '{"b":[1,1.0,"é"],"a":null}'.encode()
    seal = hashlib.sha256(body).hexdigest().encode()
    assert b'{"sha256":"' + seal + b'",' + body[1:] == storage.read("a.json")
    assert list(storage.read_json("a.json")) == ["b", "a"]


def test_json_that_says_nan_is_refused(storage: Storage) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json("a.json", {"loss": float("nan")})


def test_json_that_was_cut_short_is_corrupt(storage: Storage) -> None:
    storage.write("a.json", b'{"a":')
    with pytest.raises(Corrupt, match=r"a\.json"):
        storage.read_json("a.json")


def test_json_that_says_another_number_than_was_written_is_corrupt(storage: Storage) -> None:
    storage.write_json("a.json", {"loss": 1.25})
    storage.write("a.json", storage.read("a.json").replace(b"1.25", b"1.35"))
    with pytest.raises(Corrupt, match=r"a\.json"):
        storage.read_json("a.json")


def test_bytes_that_change_on_their_way_to_a_creation_are_refused(storage: Storage) -> None:
    link = storage._client.get_presigned_url("PUT", storage._bucket, "a")
    digest = base64.b64encode(hashlib.md5(b"as sent").digest()).decode()
    answer = httpx.put(link, content=b"as come", headers={"Content-MD5": digest}, trust_env=False)
    assert answer.status_code == 400
    assert not storage.exists("a")


def test_what_is_not_there_is_not_found(storage: Storage, tmp_path: Path) -> None:
    for ask in (storage.read, storage.size, storage.read_json):
        with pytest.raises(NotFound, match="nowhere"):
            ask("nowhere")
    with pytest.raises(NotFound):
        storage.read_file("nowhere", tmp_path / "file")
    assert not storage.exists("nowhere")
    assert list(tmp_path.iterdir()) == []


def test_removing_twice_is_removing_once(storage: Storage) -> None:
    storage.write("a", b"1")
    storage.remove("a")
    storage.remove("a")
    assert not storage.exists("a")


def test_a_name_is_created_once(storage: Storage) -> None:
    assert storage.create("a", b"first")
    assert not storage.create("a", b"second")
    assert storage.read("a") == b"first"
    assert not storage.create("a", b"first"), "equal bytes written by another are not ours"


def test_of_eight_threads_that_create_one_name_one_wins(storage: Storage) -> None:
    for turn in range(5):
        name, start = f"race/{turn}", threading.Barrier(8)

        def attempt(number: int, name: str = name, start: threading.Barrier = start) -> bool:
            start.wait()
            return storage.create(name, str(number).encode())

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(attempt, range(8)))
        assert won.count(True) == 1
        assert storage.read(name) == str(won.index(True)).encode()


def test_a_creation_whose_answer_was_lost_is_still_ours(
    settings: Settings, storage: Storage
) -> None:
    """The first attempt reaches the store, but its answer does not reach us."""
    with _Proxy(settings, lose_answers=1) as endpoint:
        behind = Storage(settings.model_copy(update={"s3_endpoint": endpoint}))
        assert behind.create("a", b"ours")
    with _Proxy(settings, lose_answers=1) as endpoint:
        behind = Storage(settings.model_copy(update={"s3_endpoint": endpoint}))
        assert not behind.create("a", b"other")
    assert storage.read("a") == b"ours"


def test_what_has_changed_meanwhile_is_not_written_over(storage: Storage) -> None:
    assert storage.version("a") is None
    assert not storage.swap("a", b"ours", "0" * 32)
    storage.write("a", b"theirs")
    seen = storage.version("a")
    assert seen is not None
    assert storage.swap("a", b"ours", seen)
    assert not storage.swap("a", b"late", seen)
    assert storage.read("a") == b"ours"


@pytest.mark.parametrize("condition", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_the_condition_is_unsuitable(
    settings: Settings, condition: str
) -> None:
    with (
        _Proxy(settings, ignored=condition) as endpoint,
        pytest.raises(StoreUnsuitable, match=f"'{condition}"),
    ):
        Storage(settings.model_copy(update={"s3_endpoint": endpoint})).open()


def test_wrong_credentials_are_said_to_be_wrong(settings: Settings) -> None:
    wrong = settings.model_copy(update={"s3_secret_key": SecretStr("wrong")})
    with pytest.raises(StoreUnsuitable, match="HUBEL_S3_SECRET_KEY"):
        Storage(wrong).open()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [("s3_secret_key", "SignatureDoesNotMatch"), ("s3_access_key", "InvalidAccessKeyId")],
)
def test_a_creation_with_wrong_credentials_is_refused_as_a_read_is(
    settings: Settings, storage: Storage, wrong: str, code: str
) -> None:
    refused = Storage(settings.model_copy(update={wrong: SecretStr("wrongwrongwrong")}))
    for ask in (lambda: refused.read("a"), lambda: refused.create("a", b"")):
        with pytest.raises(StoreUnsuitable, match=code) as found:
            ask()
        said = found.value.detail
        assert "HUBEL_S3_ACCESS_KEY" in said
        assert "wrongwrongwrong" not in said
        assert settings.s3_access_key.get_secret_value() not in said
    assert not storage.exists("a")


AWS_WORDS = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>no</Message><AWSAccessKeyId>AKIASECRET</AWSAccessKeyId>
<StringToSign>AKIASECRET/20260101/s3</StringToSign></Error>"""


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "SignatureDoesNotMatch", StoreUnsuitable),
        (403, "InvalidAccessKeyId", StoreUnsuitable),
        (403, "AccessDenied", StoreUnsuitable),
        (400, "InvalidDigest", StoreUnavailable),
    ],
)
def test_of_a_refused_creation_the_code_is_said_and_nothing_else(
    settings: Settings, status: int, code: str, error: type[StoreUnavailable]
) -> None:
    with _Proxy(settings, words=(status, AWS_WORDS.format(code=code))) as endpoint:
        behind = Storage(settings.model_copy(update={"s3_endpoint": endpoint}))
        with pytest.raises(error, match=code) as found:
            behind.create("a", b"")
    assert "AKIA" not in "".join(traceback.format_exception(found.value))


def test_opening_twice_leaves_nothing_behind(settings: Settings) -> None:
    Storage(settings).open()
    assert list(Storage(settings).open().names("probe/")) == []


def test_names_come_in_order_and_from_where_one_asks(storage: Storage) -> None:
    expected = [f"index/{number:04}-x" for number in range(1203)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: storage.write(name, b""), reversed(expected)))
    storage.write("indexes/other", b"")
    assert expected == list(storage.names("index/"))
    assert expected[600:] == list(storage.names("index/", after=expected[599]))
    assert expected[600:605] == list(storage.names("index/", after=expected[599], limit=5))
    assert list(storage.names("nothing/")) == []


def test_the_newest_experiment_is_listed_first(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for second in (1, 2, 1_000_000, 1_900_000_000, 4_000_000_000):
        monkeypatch.setattr(names.time, "time_ns", lambda second=second: second * 10**9)
        ids.append(names.new_experiment_id())
        storage.write(names.index_entry(ids[-1]), b"")
    listed = [names.experiment_of(name) for name in storage.names(names.INDEX)]
    assert ids[::-1] == listed


def test_a_blob_is_named_by_its_content(storage: Storage) -> None:
    data = os.urandom(100_000)
    sha = storage.write_blob(data)
    assert sha == storage.write_blob(data)
    assert data == storage.read_blob(sha)


@pytest.mark.parametrize("damage", ["a bit", "the end"])
def test_a_damaged_blob_is_corrupt(storage: Storage, damage: str) -> None:
    data = bytes(1000)
    sha = storage.write_blob(data)
    storage.write(names.blob(sha), b"\x01" + data[1:] if damage == "a bit" else data[:-1])
    with pytest.raises(Corrupt, match=sha):
        storage.read_blob(sha)


@pytest.mark.parametrize("damaged", [b"who", b"while"])
def test_a_damaged_blob_of_any_size_is_written_again(storage: Storage, damaged: bytes) -> None:
    sha = storage.write_blob(b"whole")
    storage.write(names.blob(sha), damaged)
    assert not storage.verifies(sha)
    storage.write_blob(b"whole")
    assert storage.verifies(sha)
    storage.remove(names.blob(sha))
    assert not storage.verifies(sha)


@pytest.mark.parametrize("size", [3000, 12 << 20])  # the second in more than one part
def test_a_blob_written_again_stays_whole_to_its_readers(storage: Storage, size: int) -> None:
    data = os.urandom(size)
    sha = storage.write_blob(data)
    with ThreadPoolExecutor(5) as pool:
        writing = pool.submit(lambda: [storage.write_blob(data) for _ in range(8)])
        readings = [pool.submit(storage.read_blob, sha) for _ in range(40)]
        assert all(reading.result() == data for reading in readings)
        writing.result()


def test_a_large_file_goes_there_and_back(storage: Storage, tmp_path: Path) -> None:
    data = os.urandom(40 << 20)  # more than one part
    (tmp_path / "there").write_bytes(data)
    storage.write_file("file", tmp_path / "there")
    storage.read_file("file", tmp_path / "back")
    assert data == (tmp_path / "back").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "there"]


def test_a_link_needs_no_credentials_and_nothing_goes_without_it(storage: Storage) -> None:
    storage.write("a/b", b"content")
    link = storage.link("a/b", 60, filename="b.bin")
    answer = httpx.get(link)
    assert (answer.status_code, answer.content) == (200, b"content")
    assert answer.headers["content-disposition"] == 'attachment; filename="b.bin"'
    assert httpx.get(link.split("?")[0]).status_code == 403
    assert httpx.put(link, content=b"other").status_code == 403


def test_a_link_names_the_public_endpoint(settings: Settings) -> None:
    public = settings.model_copy(update={"s3_public_endpoint": "https://store.example:9443"})
    assert Storage(public).link("a", 60).startswith("https://store.example:9443/")


def test_a_store_that_is_gone_is_unavailable_within_ten_seconds(
    servers_factory: "Factory", caplog: pytest.LogCaptureFixture
) -> None:
    pair = servers_factory()
    storage = Storage(pair.settings).open()
    storage.write("a", b"1")
    pair.store.kill()
    for ask in (
        lambda: storage.read("a"),
        lambda: storage.exists("a"),
        lambda: storage.create("b", b"1"),
        lambda: storage.write("b", b"1"),
        lambda: list(storage.names("x/")),
        storage.open,
    ):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as raised:
            ask()
        assert time.monotonic() - began < 10
        assert "X-Amz" not in "".join(traceback.format_exception(raised.value))
    assert "X-Amz" not in caplog.text, "a presigned address is a credential"


def test_a_store_that_hangs_is_unavailable_after_one_read_timeout(
    servers_factory: "Factory",
) -> None:
    pair = servers_factory()
    storage = Storage(pair.settings, read_seconds=2).open()
    with frozen(pair.store.pid):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            storage.read("a")
        assert time.monotonic() - began < 5
        with pytest.raises(StoreUnavailable):
            storage.create("a", b"1")


class _Proxy:
    """Between client and store: passes requests on, except that it loses the first answers to a
    conditional PUT, or takes the condition out, or answers it with `words` of its own."""

    def __init__(
        self,
        settings: Settings,
        lose_answers: int = 0,
        ignored: str = "",
        words: tuple[int, str] | None = None,
    ) -> None:
        proxy = self
        self.left = lose_answers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = dict(self.headers)
                conditional = "If-None-Match" in headers
                headers.pop(ignored, None)
                url = f"http://{settings.s3_endpoint}{self.path}"
                body = self.rfile.read(length)
                if conditional and words is not None:
                    self.send_response(words[0])
                    self.send_header("content-length", str(len(words[1])))
                    self.end_headers()
                    self.wfile.write(words[1].encode())
                    return
                # `Host` stays the proxy's, which is what was signed.
                answer = httpx.request(self.command, url, headers=headers, content=body)
                if conditional and proxy.left:
                    proxy.left -= 1
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response(answer.status_code)
                for name in ("content-type", "etag", "last-modified"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_PUT = do_HEAD = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
