"""What every part of a spec is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Epoch = Annotated[int, Field(ge=0, le=100_000, strict=True)]
Every = Annotated[int, Field(ge=1, le=100_000, strict=True)]
Count = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]


class Part(BaseModel):
    """Unknown fields are refused, and nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
