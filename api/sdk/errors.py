"""What goes wrong for a user of the Python client."""

import contextlib
import importlib
from typing import Any

import httpx

from api import words

Json = dict[str, Any]


class ServiceError(Exception):
    """What the service refused, or could not do; `status` is None where it gave no answer."""

    status: int | None = None
    type = ""
    title = ""
    detail = ""
    errors: tuple[Json, ...] = ()
    """What is wrong with the request: of each fault its pointer, code and message."""
    request_id = ""
    """By which the service's log knows it."""
    retry_after: float | None = None
    """Seconds after which the service wants to be asked again."""


class ExperimentFailed(Exception):
    """An experiment that was waited for has failed, or was cancelled."""

    id = ""
    state = ""
    failures: tuple[Json, ...] = ()
    """Of each failed run its number and the reason."""


def no_answer(url: str, error: httpx.RequestError) -> ServiceError:
    return ServiceError(
        f"No answer from {url}: {error or type(error).__name__}. Is the service up? Its address is"
        " Client(url) or HUBEL_URL"
    )


def strange(url: str) -> ServiceError:
    return ServiceError(
        f"{url} answers, but not as this service does: does something else listen there? The"
        " service's address is Client(url) or HUBEL_URL"
    )


def refused(response: httpx.Response) -> ServiceError:
    error = ServiceError(words.problem(response))
    error.status = response.status_code
    with contextlib.suppress(ValueError):
        error.retry_after = float(response.headers.get("retry-after", ""))
    said: Any = None
    with contextlib.suppress(ValueError):
        said = response.json()
    if isinstance(said, dict):
        for field in ("type", "title", "detail", "request_id"):
            setattr(error, field, str(said.get(field, "")))
        error.errors = tuple(said.get("errors", ()))
    return error


def failed(found: Json) -> ExperimentFailed:
    """Of the status of one that did not succeed."""
    id, state = found["id"], found["state"]
    ended = "was cancelled" if state == "cancelled" else "failed"
    lines = [f"{id} {ended}; wait(check=False) gives what there is, .failures() each attempt's log"]
    for one in found["failures"]:
        run = "" if one.get("run") is None else f"run {one['run']}: "
        lines.append(f"  {run}{words.plain(one['reason'])}")
    error = ExperimentFailed("\n".join(lines))
    error.id, error.state, error.failures = id, state, tuple(found["failures"])
    return error


def needed(module: str) -> Any:
    """A module that the base install, which is the command line's, has not got."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"This needs {error.name}, which is not installed: pip install 'hubel[client]'"
        ) from error
