"""The JSON body of a request, read strictly: what is not plain I-JSON (RFC 7493) is refused with
a pointer to it, before any of it is looked at as a spec."""

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from shared.errors import BadRequest, Fault, HubelError, Invalid
from shared.faults import body_faults, pointer, unknown
from shared.presets import PRESETS, SCALES, spec
from shared.spec import ExperimentSpec

Model = TypeVar("Model", bound=BaseModel)

MERGE_PATCH = "application/merge-patch+json"
MAX_DEPTH = 32
MAX_FAULTS = 20
LARGEST = 2**53 - 1
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


class UnsupportedMediaType(HubelError):
    status, code, title = 415, "unsupported-media-type", "Unsupported media type"


def read(model: type[Model], content_type: str, raw: bytes) -> Model:
    """What a body asks for, with exactly the fields that were given set."""
    return _validated(model, read_json(content_type, raw), raw)


def read_patch(model: type[Model], content_type: str, raw: bytes) -> Model:
    """The same; a merge patch may say that it is one."""
    name, semicolon, more = content_type.partition(";")
    if name.strip().lower() == MERGE_PATCH:
        content_type = f"application/json{semicolon}{more}"
    return read(model, content_type, raw)


def _validated(model: type[Model], value: Any, raw: bytes) -> Model:
    try:
        # From JSON again: strict there means JSON's own types, so that "1" is no number.
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False)
        faults = body_faults(found[:MAX_FAULTS], value, model)
        more = f" ({len(found)} errors in all)" if len(found) > 1 else ""
        raise Invalid(faults[0].message + more, faults) from None


# --- a preset with overrides ---


@contextlib.contextmanager
def experiment(content_type: str, raw: bytes) -> Iterator[ExperimentSpec]:
    """What a body asks for: a spec, or `preset`, `scale` and a merge patch of that preset's spec.

    What is refused inside this context is said of the body: a fault in what a preset says by
    itself points to the nearest override around it, or else to `preset`.
    """
    value = read_json(content_type, raw)
    if not isinstance(value, dict) or "preset" not in value:
        yield _validated(ExperimentSpec, value, raw)
        return
    patch = {k: v for k, v in value.items() if k not in _PRESET_FIELDS}
    _check_variants(patch)
    whole = merged(_preset(value), patch) | _unknown(patch)
    try:
        yield _validated(ExperimentSpec, whole, json.dumps(whole).encode())
    except Invalid as error:
        faults = [replace(fault, pointer=_nearest(fault.pointer, value)) for fault in error.faults]
        raise Invalid(error.detail, faults) from None


_PRESET_FIELDS = ("preset", "scale")


def merged(target: Any, patch: Any) -> Any:
    """JSON Merge Patch, RFC 7396: objects are merged, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = merged(out.get(name), value)
    return out


def _unknown(patch: dict[str, Any]) -> dict[str, None]:
    """Nulls that a spec has no field for: removing what cannot be there is a misspelling."""
    return {k: None for k, v in patch.items() if v is None and k not in ExperimentSpec.model_fields}


def _check_variants(patch: dict[str, Any]) -> None:
    """What a variant sets may be null, and a patch cannot say that: it would vanish silently."""
    variants = patch.get("variants")
    faults = [
        Fault(
            pointer(("variants", name, path)),
            "null-removes",
            f"'{path}' of the variant '{name}' is null, which removes a field from a preset instead"
            " of setting it: submit the preset's whole spec, from GET /v1/presets/NAME, with it",
        )
        for name, setting in (variants.items() if isinstance(variants, dict) else ())
        for path, value in (setting.items() if isinstance(setting, dict) else ())
        if value is None
    ]
    if faults:
        raise Invalid(faults[0].message, faults)


def _preset(body: dict[str, Any]) -> dict[str, Any]:
    choices: dict[str, list[str]] = {"preset": list(PRESETS), "scale": list(SCALES)}
    faults = [
        Fault(f"/{field}", f"no-such-{field}", _not_among(field, body.get(field), known))
        for field, known in choices.items()
        if body.get(field) not in known
    ]
    if faults:
        raise Invalid(faults[0].message, faults)
    return spec(body["preset"], PRESETS[body["preset"]], body["scale"])


def _not_among(field: str, found: Any, known: list[str]) -> str:
    if found is None:
        return f"{field}: is required; known here: {', '.join(known)}"
    text = found if isinstance(found, str) else json.dumps(found)
    return f"{field}: {unknown(field, text[:80], known)}"


def _nearest(fault: str, body: Any) -> str:
    """Of a pointer, the part that the body has."""
    there = ""
    for part in fault.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(body, dict) and name in body:
            body = body[name]
        elif isinstance(body, list) and name.isdecimal() and int(name) < len(body):
            body = body[int(name)]
        else:
            break
        there += f"/{part}"
    return there or "/preset"


# --- plain JSON ---


def read_json(content_type: str, raw: bytes) -> Any:
    _check_type(content_type)
    repeated: list[tuple[dict[str, Any], str]] = []
    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=lambda pairs: _object(pairs, repeated), parse_int=_int
        )
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: byte {error.start} cannot be read") from None
    except RecursionError:
        raise BadRequest(_too_deep()) from None
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    faults = list(_faults(value, {(id(where), key) for where, key in repeated}))
    if faults:
        raise Invalid(faults[0].message, faults)
    return value


def _check_type(content_type: str) -> None:
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_type() != "application/json" or not content_type:
        raise UnsupportedMediaType(
            f"The body's Content-Type is '{content_type[:80]}': send application/json"
        )
    if str(header.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8"):
        raise UnsupportedMediaType("Send application/json as UTF-8, with no other charset")


def _object(
    pairs: list[tuple[str, Any]], repeated: list[tuple[dict[str, Any], str]]
) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        repeated += [(out, key) for key, n in Counter(key for key, _ in pairs).items() if n > 1]
    return out


def _int(digits: str) -> int:
    """Python refuses to read very long integers: any one that is too large will do."""
    return int(digits) if len(digits) < 20 else LARGEST + 1


def _faults(value: Any, repeated: set[tuple[int, str]]) -> Iterator[Fault]:
    """What JSON can say and we do not take, in a walk without recursion, at most MAX_FAULTS."""
    left = MAX_FAULTS
    todo: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while todo and left:
        path, here = todo.pop()
        fault = _fault(path, here, repeated)
        if fault is not None:
            left -= 1
            yield fault
            continue
        if isinstance(here, dict):
            todo += [((*path, key), item) for key, item in here.items()]
        elif isinstance(here, list):
            todo += [((*path, i), item) for i, item in enumerate(here)]


def _fault(path: tuple[str | int, ...], value: Any, repeated: set[tuple[int, str]]) -> Fault | None:
    where = pointer(path) or "the body"
    if len(path) > MAX_DEPTH:
        return Fault(pointer(path), "too-deep", _too_deep())
    if isinstance(value, float) and not math.isfinite(value):
        return Fault(pointer(path), "not-finite", f"{where} has to be a finite number")
    if isinstance(value, int) and abs(value) > LARGEST:
        return Fault(
            pointer(path), "too-large", f"{where} has to be an integer of at most 2^53 - 1"
        )
    for text in value if isinstance(value, dict) else [value]:
        if isinstance(text, str) and _NOT_TEXT.search(text):
            message = f"{where} holds a NUL or half of a surrogate pair: only whole text is taken"
            return Fault(pointer(path), "not-text", message)
        if (id(value), text if isinstance(text, str) else "") in repeated:
            inner = pointer((*path, text))
            return Fault(inner, "repeated", f"{inner} is given twice: once is allowed")
    return None


def _too_deep() -> str:
    return f"The body is nested too deeply: {MAX_DEPTH} levels are allowed"
