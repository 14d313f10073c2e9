"""The README.md of an archive: what each file is, in which units, and how the numbers were made."""

from pathlib import Path
from typing import Any

from api.service import Service
from shared import moments
from shared.meters import version
from shared.results import Results
from shared.score import INTERVAL, score_words

TEMPLATE = Path(__file__).with_name("README.md")
CHOICES = {"none": "none", "final": "the last of each run", "all": "all"}


def text(service: Service, status: dict[str, Any], results: Results, choice: str) -> str:
    """Reads all that was trained: what does not verify is met before anything is sent."""
    mixed = results.numerics()
    classes = [f"- `{name}`" for name in mixed] or ["- nothing has been trained yet"]
    if len(mixed) > 1:
        classes.append("\nMore than one: the runs are a mixture of classes.")
    ended = status["finished"] is not None
    return TEMPLATE.read_text("utf-8").format(
        title=" ".join(status["name"].split()) or "An experiment",
        id=status["id"],
        state=status["state"],
        now=moments.now(),
        so_far="" if ended else ": what was there so far",
        runs=len(results.plan.runs),
        created=status["created"],
        interval=INTERVAL,
        choice=CHOICES[choice],
        score=score_words(results.plan.runs, results.plan),
        numerics="\n".join(classes),
        devices=", ".join(_devices(service, results)) or "nothing yet",
        version=version(),
    )


def _devices(service: Service, results: Results) -> list[str]:
    found = set()
    for segment in results.plan.segments:
        if results.trained(segment):
            manifest = service.records.manifest(segment.scope, segment.key)
            device = manifest.provenance.get("device") if manifest else None
            if device:
                found.add(f"{device['name']} ({device['kind']}, torch {device['torch']})")
    return sorted(found)
