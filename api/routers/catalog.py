"""What there is to choose from, told by the spec's own classes; the paper's figures as presets."""

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.dependencies import Json
from api.errors import responses
from shared.errors import NotFound
from shared.faults import unknown
from shared.measurements import Fisher
from shared.presets import PRESETS, SCALES, Preset, Scale, preview
from shared.presets import spec as preset_spec
from shared.spec import Deficit, Model
from shared.training import Training

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/models", operation_id="list_models")
async def models() -> Json:
    """Networks, each with its parameters and their ranges."""
    return {"models": [_described(kind) for kind in _members(Model)]}


@router.get("/deficits", operation_id="list_deficits")
async def deficits() -> Json:
    """What can be done in a window: to images, to labels, to the share of the data, to weight decay
    or augmentation. `start`, `end` and `length` are the window."""
    return {"deficits": [_described(kind) for kind in _members(Deficit)]}


@router.get("/optimizers", operation_id="list_optimizers")
async def optimizers() -> Json:
    kinds = _members(Training.model_fields["optimizer"].annotation)
    return {"optimizers": [_described(kind) for kind in kinds]}


@router.get("/schedules", operation_id="list_schedules")
async def schedules() -> Json:
    """Learning-rate schedules, by absolute epoch."""
    kinds = _members(Training.model_fields["schedule"].annotation)
    return {"schedules": [_described(kind) for kind in kinds]}


@router.get("/estimators", operation_id="list_estimators")
async def estimators() -> Json:
    """Estimators of the Fisher trace, and the parameters that they share."""
    field = Fisher.model_fields["estimator"]
    names = get_args(field.annotation)
    text = field.description or ""
    return {
        "estimators": [{"name": name, "description": _about(name, names, text)} for name in names],
        "parameters": [p for p in _described(Fisher)["parameters"] if p["name"] != "estimator"],
    }


@router.get("/presets", operation_id="list_presets")
def presets() -> Json:
    """Figures of the paper, ready to POST: what each reproduces and costs, at every scale.

    Plans count as if nothing were stored. The first call in a process makes them.
    """
    listed = [
        {
            **_preset(name, preset),
            "scales": {
                scale: {
                    "about": preset.about(scale),
                    "plan": preview.of(name, preset, scale)["plan"],
                }
                for scale in SCALES
            },
        }
        for name, preset in PRESETS.items()
    ]
    return {"presets": listed}


@router.get("/presets/{name}", operation_id="show_preset", responses=responses(404))
def preset(name: str, scale: Annotated[Scale, Query()] = "paper") -> Json:
    """One preset whole: its spec, where each setting comes from, what the paper shows, what stays
    open and which field switches it."""
    if name not in PRESETS:
        raise NotFound(unknown("preset", name[:80], list(PRESETS)))
    found = PRESETS[name]
    at_mini = found.at_mini if scale == "mini" else {}
    return {
        **_preset(name, found),
        "scale": scale,
        "about": found.about(scale),
        "shape": found.shape,
        "control": found.control,
        "spec": preset_spec(name, found, scale),
        "sources": {**found.sources, **{path: f"mini: {text}" for path, text in at_mini.items()}},
        "open_questions": [{"path": p, "question": q} for p, q in found.questions.items()],
        **preview.of(name, found, scale),
    }


def _preset(name: str, found: Preset) -> Json:
    figures = [
        {"name": drawing.figure, "options": drawing.options, "overlay": list(drawing.overlay)}
        for drawing in found.figures
    ]
    about = {"name": name, "title": found.title, "reproduces": found.reproduces}
    return {**about, "figures": figures}


def _members(union: Any) -> list[type[BaseModel]]:
    """Of a discriminated union: Annotated[A | B, ...] or A | B."""
    if hasattr(union, "__metadata__"):
        union = get_args(union)[0]
    return list(get_args(union)) or [union]


def _described(kind: type[BaseModel]) -> Json:
    schema = kind.model_json_schema()
    name = schema["properties"].pop("name", {}).get("const", kind.__name__.lower())
    required = schema.get("required", [])
    return {
        "name": name,
        "description": " ".join(schema.get("description", "").split()),
        "parameters": [
            _parameter(field, facts, field in required)
            for field, facts in schema["properties"].items()
        ],
    }


def _parameter(name: str, facts: dict[str, Any], required: bool) -> Json:
    """A JSON schema of one field, flat: what may also be null says `nullable`."""
    choices = facts.pop("anyOf", [])
    kinds = [choice for choice in choices if choice.get("type") != "null"]
    facts.pop("title", None)
    if len(kinds) == 1:
        facts = kinds[0] | {"nullable": True} | facts
    return {"name": name, "required": required, **facts}


def _about(name: str, names: tuple[str, ...], text: str) -> str:
    """The part of "one: what one is. two: what two is." that is about `name`."""
    _, _, after = text.partition(f"{name}: ")
    for other in names:
        after = after.split(f" {other}: ")[0]
    return after
