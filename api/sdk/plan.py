"""What something would cost, before it is submitted."""

from html import escape
from typing import Any

from api import words

Json = dict[str, Any]


class Plan:
    """The answer to a dry run; nothing was stored."""

    def __init__(self, said: Json) -> None:
        plan = said["plan"]
        self.runs: int = plan["runs"]
        self.epochs: dict[str, int] = plan["epochs"]
        """alone: if each run were trained by itself; shared: without what runs have in common;
        stored: there already; new: left to train; replayed: trained once more to measure them."""
        self.device_seconds: float = plan["device_seconds"]
        """On a device that reaches 10 TFLOP/s."""
        self.bytes: int | None = plan.get("bytes")
        """What its training adds to the store; None: a service that does not say."""
        self.certain: bool = said.get("certain", True)
        """False: the data set is not prepared yet, and less may be new."""
        self.said = said
        """All of the answer, the spec with its defaults among it."""

    def __str__(self) -> str:
        return words.plan(self.said["plan"], self.certain)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return escape(str(self))
