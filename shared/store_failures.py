"""How an object store and the SDK in front of it fail, in the words of `errors.py`."""

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError, ReadTimeoutError

from shared import meters
from shared.errors import NotFound, StoreUnavailable, StoreUnsuitable

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS}
_MISSING = {"NoSuchKey", "NoSuchObject", "ResourceNotFound"}
_LISTS = re.compile(r"[?&](list-type|prefix)=")
_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"}

# It warns of every retry with the whole address; of a presigned one, that is a credential.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class CutOff(StoreUnavailable):
    """An answer came, and not all of it."""


class Retry(urllib3.Retry):
    """A connection that broke is tried again; a server that hangs has used up its time."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: urllib3.connectionpool.ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


class Pool(urllib3.PoolManager):
    """Says how long each answer took to begin, by what was asked."""

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> urllib3.BaseHTTPResponse:
        operation = "list" if _LISTS.search(url) else method.lower()
        with meters.timed(meters.STORE[operation]):
            return super().urlopen(method, url, redirect, **kw)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Around a call of the SDK about an object, or a prefix, of this name."""
    try:
        with _translated(name):
            yield
    except (StoreUnavailable, StoreUnsuitable) as error:
        raise counted(error) from error.__cause__


def counted(error: StoreUnavailable | StoreUnsuitable) -> StoreUnavailable | StoreUnsuitable:
    kind = "unavailable" if isinstance(error, StoreUnavailable) else "unsuitable"
    meters.STORE_ERRORS[kind].inc()
    return error


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise NotFound(f"There is no object {name!r}") from error
        if error.code in _REFUSED:
            raise _refused(error.code, name) from error
        raise StoreUnavailable(f"{error.code} for {name!r}: {error.message}") from error
    except (ParseError, ProtocolError, ValueError, KeyError, AttributeError) as error:
        # What the SDK raises when it reads an answer of which a bit has changed.
        raise CutOff(f"The answer for {name!r} is damaged: {error}") from error
    except MaxRetryError as error:
        # Its own words hold the whole address: of a presigned one, the signature too.
        raise StoreUnavailable(f"No answer for {name!r}: {error.reason}") from error.reason
    except (HTTPError, InvalidResponseError, ServerError, OSError) as error:
        if is_no_room(error):  # on our own disk
            raise
        raise StoreUnavailable(f"No answer for {name!r}: {error}") from error


def answered(name: str, response: urllib3.BaseHTTPResponse) -> StoreUnavailable | StoreUnsuitable:
    """Of a request that went past the SDK. The rest of the answer is told to nobody: it may hold
    the access key's name and what was to be signed."""
    found = _CODE.search(response.data)
    code = found[1].decode() if found else "without a code"
    if code in _REFUSED:
        return _refused(code, name)
    return StoreUnavailable(f"PUT {name!r} was answered {response.status} ({code})")


def _refused(code: str, name: str) -> StoreUnsuitable:
    return StoreUnsuitable(
        f"The object store refuses our credentials ({code}) for {name!r}: "
        "look at HUBEL_S3_ACCESS_KEY, HUBEL_S3_SECRET_KEY and the clocks"
    )


def is_no_room(error: BaseException) -> bool:
    """Whether this machine's own disk or table of files is full."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM
