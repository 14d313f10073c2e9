"""The states of an experiment, in the order in which it goes through them."""

from typing import Literal, get_args

State = Literal["preparing", "queued", "running", "succeeded", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = STATES[3:]
