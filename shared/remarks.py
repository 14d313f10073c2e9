"""What people say of an experiment once it was accepted: its tags and notes."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from shared.errors import Fault, Invalid
from shared.part import Part
from shared.spec import ExperimentSpec, Tag

MOST_TAGS = 32
Value = Annotated[str, StringConstraints(max_length=256)]
Notes = Annotated[str, StringConstraints(max_length=10_000)]


class RemarksPatch(Part):
    """A JSON Merge Patch (RFC 7396) of an experiment's tags and notes."""

    tags: dict[Tag, Value | None] | None = Field(
        None, description="Those named are set, or with null removed; null instead of all: all."
    )
    notes: Notes | None = Field(None, description="Null removes them.")

    def applied(self, remarks: dict[str, Any]) -> dict[str, Any]:
        """Invalid where that makes too many tags."""
        made = {**remarks}
        if "tags" in self.model_fields_set:
            merged = {} if self.tags is None else {**remarks["tags"], **self.tags}
            made["tags"] = {tag: value for tag, value in merged.items() if value is not None}
        if "notes" in self.model_fields_set:
            made["notes"] = self.notes or ""
        if len(made["tags"]) > max(MOST_TAGS, len(remarks["tags"])):
            message = f"this makes {len(made['tags'])} tags; an experiment has at most {MOST_TAGS}"
            raise Invalid(message, [Fault("/tags", "too-many", message)])
        return made


def as_accepted(spec: ExperimentSpec) -> dict[str, Any]:
    return {"tags": dict(spec.tags), "notes": ""}
