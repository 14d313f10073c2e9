"""The proxies that faults are injected with: what they pass, and that each fault is really one."""

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import redis as redis_client

from shared.errors import Corrupt, StoreUnavailable
from shared.storage import Storage
from tests.faults import peers
from tests.faults.message import Message
from tests.faults.redis_proxy import RedisProxy
from tests.faults.rule import AFTER, BEFORE, Call, Rule
from tests.faults.store_proxy import StoreProxy

pytestmark = pytest.mark.services
DATA = os.urandom(40_000)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def proxy(settings):
    port = int(settings.s3_endpoint.rpartition(":")[2])
    with StoreProxy(lambda: port, lambda port: (peers.owner_of(port, [os.getpid()]), "us")) as made:
        yield made


@pytest.fixture
def through(proxy, settings, storage):
    """A store that is reached by way of the proxy."""
    return Storage(settings.model_copy(update={"s3_endpoint": f"127.0.0.1:{proxy.port}"}))


def test_what_passes_is_what_was_sent(through, storage, tmp_path):
    """Signatures, conditions, listings, files in parts, links."""
    through.open()
    assert through.write_blob(DATA) == SHA
    assert through.read_blob(SHA) == storage.read_blob(SHA) == DATA
    assert through.create("probe/one", b"first")
    assert not through.create("probe/one", b"second")
    assert list(through.names("probe/")) == ["probe/one"]
    large = tmp_path / "large"
    large.write_bytes(os.urandom((16 << 20) + 5))
    through.write_file("probe/large", large)
    assert storage.read("probe/large") == large.read_bytes()
    with urllib.request.urlopen(through.link("probe/one", 60)) as answer:
        assert answer.read() == b"first"


def test_a_call_is_known_by_its_method_its_object_and_its_sender(proxy, through):
    through.write_blob(DATA)
    call = proxy.calls[-1]
    assert (call.method, call.kind, call.pid, call.who) == ("PUT", "blobs/*", os.getpid(), "us")
    assert Call("PUT", f"experiments/{'0' * 24}/alone/3/segments/{SHA}/manifest.json", 1).kind == (
        "segments/*/manifest.json"
    )


def test_a_flipped_bit_is_one_bit_of_the_answer_and_of_nothing_that_is_stored(
    proxy, through, storage
):
    through.write_blob(DATA)
    with proxy.holding(Rule("flip", AFTER, "GET", argument=0.5)) as (rule,):
        flipped = _raw(through, f"blobs/{SHA}")
    differing = [a ^ b for a, b in zip(flipped, DATA, strict=True) if a != b]
    assert differing == [1]
    assert len(rule.hits) == 1
    assert storage.read_blob(SHA) == through.read_blob(SHA) == DATA


def test_a_bit_of_a_chunked_body_is_flipped_in_its_data():
    message = Message(b"", [(b"3\r\n", False), (b"abc", True), (b"\r\n", False), (b"0\r\n", False)])
    assert message.with_flipped_bit(1).body == b"acc"
    assert message.with_flipped_bit(1).raw == b"3\r\nacc\r\n0\r\n"


def test_an_answer_that_is_always_cut_off_is_no_data(proxy, through):
    through.write_blob(DATA)
    with (
        proxy.holding(Rule("cut", AFTER, "GET", times=None)) as (rule,),
        pytest.raises((StoreUnavailable, Corrupt)),
    ):
        through.read_blob(SHA)
    assert rule.hits


def test_an_upload_that_is_cut_off_stores_nothing(proxy, through, storage):
    with (
        proxy.holding(Rule("cut", BEFORE, "PUT", times=None)) as (rule,),
        pytest.raises(StoreUnavailable),
    ):
        through.write_blob(DATA)
    assert rule.hits
    assert not storage.exists(f"blobs/{SHA}")


def test_a_write_whose_answer_is_lost_is_written(proxy, through, storage):
    with proxy.holding(Rule("drop", AFTER, "PUT")) as (rule,):
        assert through.create("probe/one", b"first")  # by a second attempt, which finds the first
    assert len(rule.hits) == 1
    assert storage.read("probe/one") == b"first"


@pytest.mark.parametrize("status", [500, 503])
def test_a_refused_write_is_not_written(proxy, through, storage, status):
    rule = Rule("answer", BEFORE, "PUT", times=None, argument=status)
    with proxy.holding(rule), pytest.raises(StoreUnavailable):
        through.write_blob(DATA)
    assert rule.hits
    assert not storage.exists(f"blobs/{SHA}")


def test_a_slow_answer_takes_as_long_as_its_rate_says(proxy, through):
    through.write_blob(DATA)
    began = time.monotonic()
    with proxy.holding(Rule("slow", AFTER, "GET", argument=40_000)):
        assert through.read_blob(SHA) == DATA
    assert time.monotonic() - began > 0.8


def test_nobody_is_there_while_the_store_is_away(proxy, through):
    through.write_blob(DATA)
    with proxy.away(), pytest.raises(StoreUnavailable):
        through.read_blob(SHA)
    assert through.read_blob(SHA) == DATA


def test_the_rule_takes_the_nth_that_matches_and_as_many_as_it_says():
    rule = Rule("kill", BEFORE, "PUT", "blobs/.*", nth=2, times=2)
    calls = [Call("PUT", f"blobs/{i}", 1) for i in range(5)] + [Call("GET", "blobs/9", 1)]
    assert [call.name for call in calls if rule.takes(call, BEFORE)] == ["blobs/1", "blobs/2"]
    assert not rule.takes(calls[0], AFTER)


@pytest.mark.parametrize("phase", [BEFORE, AFTER])
def test_the_one_that_writes_is_killed_before_or_after_the_store_has_it(settings, storage, phase):
    """And nobody else: the writer is another process, which the proxy finds by its port."""
    port = int(settings.s3_endpoint.rpartition(":")[2])
    writer = []

    def sender(port):
        return peers.owner_of(port, [w.pid for w in writer]), "writer"

    with StoreProxy(lambda: port, sender) as proxy:
        code = (
            "import sys; sys.stdin.read()\n"
            "from shared.settings import Settings; from shared.storage import Storage\n"
            "Storage(Settings()).write('probe/one', b'first'); print('told')"
        )
        env = {
            "HUBEL_S3_ENDPOINT": f"127.0.0.1:{proxy.port}",
            "HUBEL_S3_BUCKET": settings.s3_bucket,
            "HUBEL_S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
            "HUBEL_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        }
        writer.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=os.environ | env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        with proxy.holding(Rule("kill", phase, "PUT")) as (rule,):
            told, _ = writer[0].communicate(timeout=60)
    assert writer[0].returncode == -9
    assert told == b""
    assert len(rule.hits) == 1
    assert storage.exists("probe/one") == (phase == AFTER)


def test_redis_away_refuses_and_redis_silent_keeps_one_waiting(settings):
    url = settings.redis_url.get_secret_value()
    port = int(url.rpartition(":")[2].partition("/")[0])
    with RedisProxy(lambda: port) as proxy:
        there = url.replace(f":{port}/", f":{proxy.port}/")
        with redis_client.Redis.from_url(there, socket_timeout=0.5) as client:
            assert client.ping()
            with proxy.away(), pytest.raises(redis_client.ConnectionError):
                client.ping()
            assert client.ping()
            with proxy.silent(), pytest.raises(redis_client.TimeoutError):
                client.ping()
            assert proxy.swallowed
            with socket.create_connection(("127.0.0.1", proxy.port), 1):
                assert client.ping()


def _raw(storage, name):
    """One request, without what `Storage` does about damage."""
    with storage._client.get_object(storage._bucket, name) as response:
        return response.data
