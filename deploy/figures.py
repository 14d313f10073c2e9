"""The paper's figures: local mode, every preset over HTTP at once, then their figures and numbers.

python -m deploy.figures [--scale mini] [--only 'fig1a fig1c'] [--out DIR] [--data DIR]

Run again, it asks for the same experiments: what is trained is not trained again.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from api.lifecycle import ENDED
from deploy.local import LocalError, LocalMode, usual_workers

Json = dict[str, Any]

POLL_SECONDS = 5.0
FORMATS = ("png", "svg")
PARTS = ("summary", "analysis")
NOTHING_YET = {409: "nothing to draw", 404: "not there", 422: "refused"}


@dataclass
class Asked:
    """A preset and the experiment that was made of it."""

    preset: Json
    status: Json
    summary: Json = field(default_factory=lambda: {"points": []})
    missing: list[str] = field(default_factory=list)
    """What of it could not be had, and why."""

    @property
    def name(self) -> str:
        return str(self.preset["name"])

    @property
    def path(self) -> str:
        return f"/v1/experiments/{self.status['id']}"

    @property
    def seconds(self) -> float | None:
        """From the POST to the end, beside all others."""
        if self.status["finished"] is None:
            return None
        ends = (self.status[name].replace("Z", "+00:00") for name in ("created", "finished"))
        began, finished = (datetime.fromisoformat(end) for end in ends)
        return round((finished - began).total_seconds(), 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.figures", description=__doc__)
    parser.add_argument("--scale", default="mini", help="mini, half or paper")
    parser.add_argument("--only", default="", help="names of presets; all without it")
    parser.add_argument("--out", type=Path, default=Path("figures-output"))
    parser.add_argument("--data", type=Path, default=Path(".hubel/figures"), help="kept")
    parser.add_argument("--workers", type=int, default=usual_workers())
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    try:
        console.print(f"Starting local mode with {options.workers} workers ...")
        with (
            LocalMode(options.data, workers=options.workers) as local,
            httpx.Client(base_url=local.url, timeout=300, trust_env=False) as http,
        ):
            console.print(f"{local.url} is ready (log: {local.data / 'hubel.log'})")
            asked = reproduce(http, options.scale, options.only.split(), options.out, console.print)
    except LocalError as error:
        sys.exit(f"figures: {error}")
    except KeyboardInterrupt:
        sys.exit(f"figures: interrupted; what was trained is kept in {options.data}")
    console.print(table(asked))
    console.print(f"{time.monotonic() - began:.0f} s in all. Figures: {options.out.resolve()}")
    missing = [f"{one.name}: {what}" for one in asked for what in one.missing]
    if missing:
        sys.exit("figures: not all is there:\n  " + "\n  ".join(missing))


def reproduce(
    http: httpx.Client, scale: str, only: list[str], out: Path, say: Callable[[str], object]
) -> list[Asked]:
    """All presets, or those of these names, to their end, with everything written to `out`."""
    asked = [_submit(http, name, scale) for name in only or _all(http)]
    for one in asked:
        say(f"POST {one.name} at {scale} -> {one.path}")
    for one in _as_they_end(http, asked, say):
        _write(http, one, out / one.name)
        state, seconds = one.status["state"], one.seconds
        say(f"{one.name} {state} after {seconds:.0f} s: {out / one.name}")
    return asked


def _all(http: httpx.Client) -> list[str]:
    return [one["name"] for one in http.get("/v1/presets").raise_for_status().json()["presets"]]


def _submit(http: httpx.Client, name: str, scale: str) -> Asked:
    """The experiment that an earlier call made of this preset, unless it ended badly."""
    answer = http.get(f"/v1/presets/{name}", params={"scale": scale})
    if answer.status_code != 200:
        sys.exit(f"figures: {name} at {scale}: {answer.json()['detail']}")
    preset = answer.json()
    body = {"preset": name, "scale": scale}
    meaning = hashlib.sha256(json.dumps(preset["spec"], sort_keys=True).encode()).hexdigest()
    status = _post(http, body, {"Idempotency-Key": f"figures-{meaning}"})
    if status["state"] in ("failed", "cancelled"):
        status = _post(http, body, {})
    return Asked(preset, status)


def _post(http: httpx.Client, body: Json, headers: dict[str, str]) -> Json:
    answer = http.post("/v1/experiments", json=body, headers=headers)
    if answer.status_code != 202:
        sys.exit(f"figures: {body} was refused: {answer.text}")
    return dict(answer.json())


def _as_they_end(
    http: httpx.Client, asked: list[Asked], say: Callable[[str], object]
) -> Iterator[Asked]:
    waiting, told = list(asked), time.monotonic()
    while waiting:
        for one in list(waiting):
            one.status = _status(http, one.path) or one.status
            if one.status["state"] in ENDED:
                waiting.remove(one)
                yield one
        if waiting and time.monotonic() - told > 60:
            told = time.monotonic()
            say(", ".join(f"{one.name} {_share(one.status)}" for one in waiting))
        if waiting:
            time.sleep(POLL_SECONDS)


def _status(http: httpx.Client, path: str) -> Json | None:
    """None where the service stumbles: it is asked again."""
    try:
        answer = http.get(path)
    except httpx.TransportError:
        return None
    if answer.status_code >= 500:
        return None
    return dict(answer.raise_for_status().json())


def _share(status: Json) -> str:
    epochs = (status["progress"] or {}).get("epochs") or {"done": 0, "planned": 0}
    return f"{epochs['done']}/{epochs['planned']}"


# --- what is written -------------------------------------------------------------------------


def _write(http: httpx.Client, one: Asked, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if one.status["state"] != "succeeded":
        one.missing.append(f"it has {one.status['state']}")
    _keep(folder / "preset.json", one.preset)
    _keep(folder / "status.json", one.status | {"seconds": one.seconds})
    for part in PARTS:
        answer = _got(http, f"{one.path}/{part}", {}, part, one)
        if answer is not None:
            _keep(folder / f"{part}.json", answer.json())
    if (folder / "summary.json").exists():
        one.summary = json.loads((folder / "summary.json").read_text())
    for name, figure, options in _drawings(one.preset):
        for format in FORMATS:
            path, asked = f"{one.path}/figures/{figure}", options | {"format": format}
            answer = _got(http, path, asked, f"{name}.{format}", one)
            if answer is not None:
                (folder / f"{name}.{format}").write_bytes(answer.content)


def _drawings(preset: Json) -> Iterator[tuple[str, str, Json]]:
    """(name of the file, name of the figure, its parameters), and again with the paper's curves."""
    for drawing in preset["figures"]:
        name = "-".join([drawing["name"], *drawing["options"].values()])
        yield name, drawing["name"], drawing["options"]
        if drawing["overlay"]:
            options = drawing["options"] | {"overlay": drawing["overlay"]}
            yield f"{name}-overlay", drawing["name"], options


def _got(
    http: httpx.Client, path: str, options: Json, name: str, one: Asked
) -> httpx.Response | None:
    """None where it cannot be had, which is written down: the others go on."""
    try:
        answer = http.get(path, params=options)
    except httpx.HTTPError as error:
        one.missing.append(f"{name}: {type(error).__name__} {error}")
        return None
    if answer.status_code == 200:
        return answer
    what = NOTHING_YET.get(answer.status_code, f"status {answer.status_code}")
    one.missing.append(f"{name}: {what} ({answer.text[:300]})")
    return None


def _keep(path: Path, value: Json) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


# --- what is said ----------------------------------------------------------------------------


def table(asked: list[Asked]) -> Table:
    shown = Table(title="Epochs, and the largest loss of each curve in points (mean over seeds)")
    for column in ("preset", "alone", "shared", "trained", "seconds", "numbers"):
        shown.add_column(column, justify="left" if column in ("preset", "numbers") else "right")
    for one in asked:
        planned = (one.status["plan"] or {}).get("epochs") or {"alone": 0, "shared": 0}
        epochs = (one.status["progress"] or {}).get("epochs") or {"trained": 0}
        counts = (planned["alone"], planned["shared"], epochs["trained"], one.seconds)
        shown.add_row(
            one.name, *("-" if n is None else f"{n:,}" for n in counts), numbers(one.summary)
        )
    return shown


def numbers(summary: Json) -> str:
    """Of each curve the largest loss against its clean runs, where it is known."""
    lost: dict[str | None, Json] = {}
    for point in summary["points"]:
        worst = lost.get(point["variant"])
        if _loss(point) is not None and (worst is None or _loss(point) > _loss(worst)):
            lost[point["variant"]] = point
    return "\n".join(_words(variant, point) for variant, point in lost.items())


def _loss(point: Json) -> Any:
    return (point["drop"] or {}).get("mean")


def _words(variant: str | None, point: Json) -> str:
    where = ", ".join(json.dumps(value) for value in point["point"].values())
    said = f"less {100 * _loss(point):.1f} points at {where}"
    return said if variant is None else f"{variant}: {said}"


if __name__ == "__main__":
    main()
