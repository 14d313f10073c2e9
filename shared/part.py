"""What every part of a spec is made of."""

from collections.abc import Set
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Epoch = Annotated[int, Field(ge=0, le=100_000, strict=True)]
Every = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Count = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]


class Part(BaseModel):
    """Unknown fields are refused, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    ADDED: ClassVar[frozenset[str]] = frozenset()
    """Fields that keys did not have at first. At their default, which stands for what was done
    before, they are left out of keys, so that an old key goes on naming the same training."""

    def keyed(self, exclude: Set[str] = frozenset()) -> dict[str, Any]:
        """All that enters a key, every default written out."""
        fields = type(self).model_fields
        silent = {name for name in self.ADDED if getattr(self, name) == fields[name].default}
        return self.model_dump(exclude={*exclude, *silent})


def listed(value: Any) -> Any:
    """A single name, where one or several may be given."""
    return [value] if isinstance(value, str) else value
