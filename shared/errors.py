"""The error tree: each error carries its HTTP status, a stable code, and a message that says what
was found, what was expected and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a body or a parameter. `pointer` is a JSON pointer into the body."""

    pointer: str
    code: str
    message: str


class HubelError(Exception):
    """Root of every error that a user may see."""

    status = 500
    code = "internal"
    title = "Internal error"
    retry_after: int | None = None

    def __init__(self, detail: str, faults: list[Fault] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults or []


class BadRequest(HubelError):
    status, code, title = 400, "bad-request", "Bad request"


class Unauthorized(HubelError):
    """Nobody is named by the request, or by a token that counts."""

    status, code, title = 401, "unauthorized", "A token is needed"


class Forbidden(HubelError):
    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(HubelError):
    status, code, title = 404, "not-found", "Not found"


class Conflict(HubelError):
    status, code, title = 409, "conflict", "Refused in this state"


class TooLarge(HubelError):
    status, code, title = 413, "too-large", "Too large"


class Invalid(HubelError):
    status, code, title = 422, "invalid", "Invalid"


class TooMany(HubelError):
    status, code, title = 429, "too-many-requests", "Too many requests"


class StoreUnavailable(HubelError):
    status, code, title = 503, "store-unavailable", "The object store does not answer"
    retry_after = 5


class StoreUnsuitable(HubelError):
    """The store answers, but breaks a promise that Hubel builds on (conditional PUT, read-back)."""

    status, code, title = 503, "store-unsuitable", "The object store is not suitable"


class Corrupt(HubelError):
    """A stored object does not match its digest."""

    status, code, title = 503, "corrupt", "A stored object does not verify"
    retry_after: int | None = 10


class DataDamaged(Corrupt):
    """A stored data set does not verify, and nothing here can make it again: somebody has to store
    it again, and the run that met it is not at fault."""

    code, title = "data-damaged", "A stored data set does not verify"
    retry_after = None


class DatasetUnavailable(HubelError):
    """A data set could not be fetched or decoded."""

    status, code, title = 409, "dataset-unavailable", "The data set is not available"


class Cancelled(HubelError):
    """Raised between two steps of training when the experiment was cancelled."""

    status, code, title = 409, "cancelled", "Cancelled"


class Stopped(HubelError):
    """Raised between two steps of training when the worker was asked to stop a while ago."""

    status, code, title = 409, "stopped", "The worker stops"


class DeviceUnavailable(HubelError):
    """This machine has not got the device that its worker is to train on."""

    status, code, title = 503, "device-unavailable", "The device is not there"


class NotReady(HubelError):
    """A segment was woken before its parent state was stored."""

    status, code, title = 409, "not-ready", "The parent segment is not done"


class OtherVersion(NotReady):
    """Training of another version than this program's: for others to do."""

    code, title = "other-version", "Training of another version"


class TooNew(HubelError):
    """Stored by a later version of this program, in a form that this one does not know."""

    status, code, title = 503, "too-new", "Stored by a newer version"
