"""What parameters may hold where it is our own code that checks them: for the OpenAPI document."""

from typing import Any

from api.dependencies import KEY
from api.figures import FIGURES
from shared.presets import PRESETS
from shared.results import METRICS
from shared.spec import DATASET_NAME

Schema = dict[str, Any]

ID: Schema = {"pattern": "^[0-9a-f]{24}$"}
MOMENT: Schema = {
    "anyOf": [{"format": "date-time"}, {"pattern": "^[0-9]{1,14}$"}],
}
NAMED: dict[str, Schema] = {
    "id": ID,
    "experiment": ID,
    "key": {"pattern": "^[0-9a-f]{64}$"},
    "Idempotency-Key": {
        "minLength": 1,
        "maxLength": 255,
        "pattern": f"^{KEY.pattern}$",
    },
    "tag": {"items": {"type": "string", "pattern": "^[^:]*:"}},
    "metric": {"items": {"type": "string", "enum": list(METRICS)}},
    "from": MOMENT,
    "to": MOMENT,
}
OF_OPERATION: dict[tuple[str, str], Schema] = {
    ("experiment_figure", "name"): {"enum": list(FIGURES)},
    ("show_preset", "name"): {"enum": list(PRESETS)},
    ("dataset", "name"): {"pattern": DATASET_NAME},
    ("put_dataset", "name"): {"pattern": DATASET_NAME},
    ("delete_dataset", "name"): {"pattern": DATASET_NAME},
}


def declare(document: dict[str, Any]) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                known = (operation["operationId"], parameter["name"])
                schema = _without_null(parameter["schema"])
                parameter["schema"] = schema | OF_OPERATION.get(known, NAMED.get(known[1], {}))


def _without_null(schema: Schema) -> Schema:
    """A query or a header cannot say null: it is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    return kinds[0] | {name: value for name, value in schema.items() if name != "anyOf"}
