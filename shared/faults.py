"""What pydantic found wrong -> faults that point into the body and say what is allowed."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from shared.errors import Fault

Location = tuple[str | int, ...]
MAX_WORD = 60
MAX_NAME = 120
"""As long as a spec lets a name be: a pointer to what is there is whole."""


def body_faults(errors: Sequence[Any], body: Any, model: type[BaseModel]) -> list[Fault]:
    """`errors` of a pydantic ValidationError about `body`, read as `model`."""
    return [_body_fault(error, body, model) for error in errors]


def pointer(location: Sequence[str | int]) -> str:
    """RFC 6901."""
    parts = (str(part)[:MAX_NAME].replace("~", "~0").replace("/", "~1") for part in location)
    return "".join(f"/{part}" for part in parts)


def message_of(error: Any) -> str:
    """pydantic's message in our words, with what was found."""
    context = error.get("ctx") or {}
    match error["type"]:
        case "union_tag_invalid":
            return f"{_found(context['tag'])} is none of {context['expected_tags']}"
        case "missing":
            return "is required"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
    text = str(error["msg"])
    text = text.removeprefix("Input ")
    given = error.get("input")
    if isinstance(given, str | int | float | bool):
        text += f"; found {_found(given)}"
    return text


def _body_fault(error: Any, body: Any, model: type[BaseModel]) -> Fault:
    location = _in_body(error["loc"], body)
    models = _models_at(error["loc"], model)
    known = sorted({name for m in models for name in m.model_fields})
    message, kind = message_of(error), error["type"]
    if kind == "extra_forbidden":
        kind, message = "unknown-field", unknown("field", str(location[-1]), known)
    elif kind == "union_tag_invalid":
        location = (*location, "name")
    elif kind == "union_tag_not_found":
        location = (*location, "name")
        message = f"one of {', '.join(repr(_tag(m)) for m in models)} is required"
    elif kind == "value_error":
        named = [word for word in re.findall(r"'(\w+)'", message) if word in known]
        location = (*location, *named[:1])
    where = ".".join(str(part)[:MAX_WORD] for part in location)
    if not where and kind.endswith("_type"):
        where = "the body"
    return Fault(pointer(location), kind, f"{where}: {message}" if where else message)


def _found(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_WORD else f"{text[:MAX_WORD]}…"


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """For a name that nothing of this kind has: what was probably meant, and what there is."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"there is no such {kind}; {hint}known here: {', '.join(known) or 'none'}"


def _in_body(location: Location, body: Any) -> Location:
    """pydantic's location without what is not in the body: names of union members, "[key]"."""
    out: list[str | int] = []
    here: Any = body
    for i, part in enumerate(location):
        match here:
            case dict() if part in here:
                here = here[part]
            case list() if isinstance(part, int) and part < len(here):
                here = here[part]
            case _ if part == "[key]" or i + 1 < len(location) or _is_name_of(here, part):
                continue
        out.append(part)
    return tuple(out)


def _is_name_of(value: Any, part: str | int) -> bool:
    return isinstance(value, dict) and value.get("name") == part


def _models_at(location: Location, model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model in which the location ends; several where it names none of a union."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        inner = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        tagged = [m for m in models if _tag(m) == part]
        models = [m for a in inner for m in _models(a)] or tagged or models
    return models


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("name")
    if field is None or get_origin(field.annotation) is not Literal:
        return None
    return str(get_args(field.annotation)[0])


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
