"""The object store: the truth. One `Storage` a process, used by all its threads.

Every outage becomes `StoreUnavailable` within seconds. Names of objects come from `names.py`.
"""

import hashlib
import io
import logging
import os
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import S3Error

from shared import meters, sealed, store_promises
from shared import names as named
from shared.errors import Corrupt, NotFound, StoreUnsuitable
from shared.settings import Settings
from shared.store_failures import CutOff, Pool, Retry, answered, counted, translated

CONNECT_SECONDS = 2.0
READ_SECONDS = 15.0
READS = 3
"""What arrives cut off or damaged is asked for again: it may have happened on the way."""
PART_BYTES = 16 << 20


T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One object, as a listing tells of it."""

    name: str
    bytes: int
    modified: float
    """Seconds since 1970, by the store's clock."""


class Storage:
    def __init__(self, settings: Settings, read_seconds: float = READ_SECONDS) -> None:
        self._bucket = settings.s3_bucket
        # put_object has no conditional headers (given as metadata they become X-Amz-Meta-...),
        # so `create` uses this pool itself, with a presigned link.
        self._http = Pool(
            maxsize=32,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
            retries=Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        )
        self._client = _client(settings, settings.s3_endpoint, settings.s3_secure, self._http)
        self._public = self._client
        if settings.s3_public_endpoint:
            address = urlsplit(settings.s3_public_endpoint)
            secure = address.scheme == "https"
            self._public = _client(settings, address.netloc, secure, self._http)

    def open(self) -> "Storage":
        """Make the bucket where it is missing, and try the promises that Hubel builds on."""
        try:
            self._make_bucket()
            store_promises.check(self)
        except (Corrupt, NotFound) as error:
            raise StoreUnsuitable(f"The object store loses what was written: {error}") from error
        return self

    # --- bytes ---

    def read(self, name: str) -> bytes:
        return self._read(name, lambda data: data)

    def read_json(self, name: str) -> Any:
        """Corrupt where it is not JSON, or not what its seal says."""
        return self.read_json_sized(name)[0]

    def read_json_sized(self, name: str) -> tuple[Any, int]:
        """With the number of its bytes."""
        return self._read(name, lambda data: (_opened(name, data), len(data)))

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except NotFound:
            return False
        return True

    def size(self, name: str) -> int:
        with translated(name):
            return int(self._client.stat_object(self._bucket, named.checked(name)).size or 0)

    def write(self, name: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        with translated(name):
            self._client.put_object(
                self._bucket, named.checked(name), io.BytesIO(data), len(data), content_type
            )

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        self.write(name, sealed.dump(value), "application/json")

    def create(
        self, name: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> bool:
        """Write what must not exist yet; False where it does, and nothing is changed.

        An attempt whose answer was lost may have written: where the request was sent more than
        once, an object that equals `data` counts as ours.
        """
        response = self._put_if("If-None-Match", "*", name, data, content_type)
        if response.status == 200:
            return True
        if response.status in (409, 412):  # 409: another conditional write was under way
            retried = bool(response.retries and response.retries.history)
            return retried and self.read(name) == data
        raise counted(answered(name, response))

    def version(self, name: str) -> str | None:
        """Another one after each write of other bytes. None where there is no object."""
        try:
            with translated(name):
                return str(self._client.stat_object(self._bucket, named.checked(name)).etag)
        except NotFound:
            return None

    def swap(
        self, name: str, data: bytes, version: str, content_type: str = "application/octet-stream"
    ) -> bool:
        """Write over the object while it is of this version. False where it is not, and nothing is
        changed; or where it was, by an attempt of which the answer was lost."""
        response = self._put_if("If-Match", f'"{version}"', name, data, content_type)
        if response.status == 200:
            return True
        if response.status in (404, 409, 412):
            return False
        raise counted(answered(name, response))

    def _put_if(
        self, header: str, condition: str, name: str, data: bytes, content_type: str
    ) -> urllib3.BaseHTTPResponse:
        with translated(name):
            return self._http.request(
                "PUT",
                self._client.get_presigned_url(
                    "PUT", self._bucket, named.checked(name), timedelta(minutes=5)
                ),
                body=data,
                headers={
                    header: condition,
                    "Content-Type": content_type,
                    # The link signs no digest of the body, as the SDK's own writes do.
                    "Content-MD5": _md5(data),
                },
            )

    def create_json(self, name: str, value: dict[str, Any]) -> bool:
        return self.create(name, sealed.dump(value), "application/json")

    def remove(self, name: str) -> None:
        with translated(name):
            self._client.remove_object(self._bucket, named.checked(name))

    def names(
        self, prefix: str, after: str | None = None, limit: int | None = None
    ) -> Iterator[str]:
        """Names below `prefix` (which ends in "/"), in order, those after `after`."""
        with translated(prefix):
            # list_objects always asks for 1,000, of which reading the XML takes 50 ms of Python.
            most = None if limit is None else min(limit, 1000)
            found = self._client._list_objects(
                self._bucket, prefix=prefix, start_after=after, max_keys=most, encoding_type="url"
            )
            for entry in islice(found, limit):
                yield str(entry.object_name)

    def entries(self, prefix: str, after: str | None = None) -> Iterator[Entry]:
        """As `names`, with what a listing knows of each object."""
        with translated(prefix):
            for found in self._client.list_objects(
                self._bucket, prefix=prefix, recursive=True, start_after=after
            ):
                yield Entry(found.object_name, found.size or 0, _seconds(found.last_modified))

    def entry(self, name: str) -> Entry:
        with translated(name):
            found = self._client.stat_object(self._bucket, named.checked(name))
            return Entry(name, int(found.size or 0), _seconds(found.last_modified))

    # --- files, for what should not be held in memory ---

    def write_file(self, name: str, path: Path) -> None:
        with translated(name):
            self._client.fput_object(
                self._bucket, named.checked(name), str(path), part_size=PART_BYTES
            )

    def read_file(self, name: str, path: Path, tick: Callable[[], None] = lambda: None) -> None:
        """The file appears whole or not at all. `tick` is called at each MiB, and may raise."""
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            with self._stream(name) as response, part.open("wb") as file:
                for piece in response.stream(1 << 20):
                    file.write(piece)
                    tick()
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    # --- blobs, named by their content ---

    def write_blob(self, data: bytes) -> str:
        """SHA-256 of `data`. Always sent: what is there under this name, of this size even, may
        be damaged, and a PUT of equal bytes over a whole blob is nothing that a reader sees."""
        sha = hashlib.sha256(data).hexdigest()
        self.write(named.blob(sha), data)
        return sha

    def verifies(self, sha: str) -> bool:
        """Whether the blob is there and whole. Reads all of it, and holds none of it."""
        try:
            return bool(_again(lambda: _expected(sha, self.digest(named.blob(sha)))))
        except (Corrupt, NotFound):
            return False

    def read_blob(self, sha: str) -> bytes:
        return self._read(named.blob(sha), lambda data: _checked(sha, data))

    def read_blob_into(self, sha: str, file: IO[bytes]) -> None:
        """In pieces, from the file's beginning. Corrupt where it does not verify."""

        def read() -> None:
            file.seek(0)
            file.truncate()
            found = hashlib.sha256()
            with self._stream(named.blob(sha)) as response:
                for piece in response.stream(1 << 20):
                    found.update(piece)
                    file.write(piece)
            _expected(sha, found.hexdigest())

        _again(read)

    def digest(self, name: str) -> str:
        """SHA-256 of an object's bytes, which are never all in memory."""
        sha = hashlib.sha256()
        with self._stream(name) as response:
            for piece in response.stream(1 << 20):
                sha.update(piece)
        return sha.hexdigest()

    def link(self, name: str, seconds: int, filename: str | None = None) -> str:
        """A link that needs no credentials until it expires."""
        disposition = f'attachment; filename="{filename}"'
        with translated(name):
            return str(
                self._public.get_presigned_url(
                    "GET",
                    self._bucket,
                    named.checked(name),
                    timedelta(seconds=seconds),
                    {"response-content-disposition": disposition} if filename else None,
                )
            )

    def _read(self, name: str, opened: Callable[[bytes], T]) -> T:
        return _again(lambda: opened(self._whole(name)))

    def _whole(self, name: str) -> bytes:
        with self._stream(name) as response:
            return bytes(response.read())

    @contextmanager
    def _stream(self, name: str) -> Iterator[urllib3.BaseHTTPResponse]:
        with translated(name):
            response = self._client.get_object(self._bucket, named.checked(name))
            try:
                yield response
            finally:
                response.close()
                response.release_conn()

    def _make_bucket(self) -> None:
        with translated(self._bucket):
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise


def _client(settings: Settings, endpoint: str, secure: bool, http: urllib3.PoolManager) -> Minio:
    return Minio(
        endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=secure,
        region=settings.s3_region,
        http_client=http,
    )


def _opened(name: str, data: bytes) -> Any:
    try:
        return sealed.load(data)
    except ValueError as error:
        raise Corrupt(f"Object {name!r} does not verify: {error}") from error


def _again(read: Callable[[], T]) -> T:
    """What arrives cut off or damaged is asked for again."""
    for left in reversed(range(READS)):
        try:
            return read()
        except (Corrupt, CutOff) as error:
            if left == 0:
                if isinstance(error, Corrupt):
                    meters.STORE_ERRORS["corrupt"].inc()
                raise
            log.warning("read again: %s", error)
    raise AssertionError("there is at least one read")


def _checked(sha: str, data: bytes) -> bytes:
    _expected(sha, hashlib.sha256(data).hexdigest())
    return data


def _expected(sha: str, found: str) -> str:
    if found != sha:
        raise Corrupt(f"Blob {sha} has the digest {found}")
    return found


def _md5(data: bytes) -> str:
    return b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _seconds(moment: datetime | None) -> float:
    return 0.0 if moment is None else moment.timestamp()
