"""constraints.txt is the lock file: whatever our extras bring into the environment is pinned."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line[:1] not in ("", "#")
]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}


def asked_for() -> Iterator[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        if requirement.name != PROJECT["name"]:
            yield requirement


def required_by(requirement: Requirement) -> Iterator[Requirement]:
    """What an installed distribution asks for here, with the extras that it was asked for with."""
    for line in distribution(requirement.name).requires or []:
        inner = Requirement(line)
        extras = ["", *requirement.extras]
        if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
            yield inner


def is_fixed(requirement: Requirement) -> bool:
    """By whoever asks for it: as the CUDA build of torch does for each of its libraries."""
    return any(one.operator == "==" and "*" not in one.version for one in requirement.specifier)


def closure() -> dict[str, str]:
    """Name and version of all that is installed because our extras ask for it."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = list(asked_for())
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        try:
            version = Version(distribution(name).version)
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        if not is_fixed(requirement):
            found[name] = version.public
        if (name, frozenset(requirement.extras)) not in seen:
            seen.add((name, frozenset(requirement.extras)))
            todo += required_by(requirement)
    return found


def test_every_line_pins_one_version_exactly_and_once() -> None:
    for line in LINES:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line), line
    assert len(PINS) == len(LINES)


def test_all_that_our_extras_bring_is_pinned_as_it_is_installed() -> None:
    installed = closure()
    assert {"torch", "fastapi", "starlette", "h11", "kombu"} <= set(installed)  # it looks deep
    unpinned = {name: version for name, version in installed.items() if name not in PINS}
    assert not unpinned, "add them to constraints.txt"
    other = {n: (v, PINS[n]) for n, v in installed.items() if Version(v) != Version(PINS[n])}
    assert not other, "installed, pinned: install with --constraint constraints.txt"


def test_what_is_asked_for_allows_what_is_pinned() -> None:
    for requirement in asked_for():
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is None or requirement.specifier.contains(pin), requirement
