"""What a user asks for in Python, as the JSON of a request."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.spec import ExperimentSpec

Json = dict[str, Any]


def experiment(
    spec: "ExperimentSpec | Mapping[str, Any] | str | None",
    preset: str | None,
    scale: str | None,
    overrides: Mapping[str, Any],
) -> Any:
    """A spec, or a preset's name with what is to be other in it."""
    if isinstance(spec, str):
        spec, preset = None, spec
    if (spec is None) == (preset is None):
        raise TypeError("give a spec or preset=..., one of them")
    if preset is None:
        if scale is not None or overrides:
            given = ", ".join([*overrides, *(["scale"] if scale else [])])
            raise TypeError(f"{given}: only what a preset says can be replaced here")
        return plain(spec)
    named: Json = {"preset": preset} if scale is None else {"preset": preset, "scale": scale}
    return named | {name: plain(value) for name, value in overrides.items()}


def plain(value: Any) -> Any:
    """Models of the spec, numpy's arrays and numbers, ranges and tuples as JSON has them."""
    if hasattr(value, "model_dump"):
        # What was not given is left for the service to fill in: its version may be another.
        return value.model_dump(mode="json", exclude_unset=True)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    return value


def several(name: str, kind: type, given: Any) -> list[Any] | None:
    """One value or any number of them, in whatever holds them, as a list; None: nobody asked."""
    if given is None:
        return None
    held = plain(given)
    if isinstance(held, str | bytes) or not isinstance(held, Iterable):
        held = [held]
    found = [plain(one) for one in held]
    for one in found:
        if type(one) is not kind:
            raise TypeError(
                f"{name}: {one!r:.80} is no {kind.__name__}: give one, or a list of them"
            )
    return found
