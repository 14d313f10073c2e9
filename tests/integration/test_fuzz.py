"""Schemathesis walks the real service by its own document, with every kind of token.

`make fuzz` does so at length: HUBEL_FUZZ_CASES and HUBEL_FUZZ_SEED say how long and how.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_process import api_process
from fuzzing import LONG, SHORT, Found, fuzz
from small import submit

pytestmark = pytest.mark.services

CASES = int(os.environ.get("HUBEL_FUZZ_CASES", "0"))
SEED = int(os.environ.get("HUBEL_FUZZ_SEED", random.randrange(2**31) if CASES else 1))
TOKENS: dict[str, dict[str, str]] = {
    "no token": {},
    "garbage": {"Authorization": "Bearer hubel_garbage"},
}
CHEAP = {
    "max_runs": 4,
    "max_epochs": 12,
    "max_device_hours": 1e-5,
    "max_dataset_bytes": 1 << 20,
    "allow_download": False,
}
"""What one experiment may cost, so that one worker keeps up."""


@pytest.mark.timeout(3600)
def test_no_case_is_a_5xx_or_breaks_the_document(lab: Any, tmp_path: Path) -> None:
    lab.settings = lab.settings.model_copy(update=CHEAP)
    lab.start_worker()
    found, began = Found(), time.monotonic()
    phases, examples = (LONG, 60) if CASES else (SHORT, 8)
    lab.wait(submit(lab))  # there is something to be found
    with api_process(lab.settings) as api:
        for name, headers in TOKENS.items():
            ours = Found()
            while not ours.cases or ours.total < CASES / len(TOKENS):
                seed = SEED + ours.total
                folder = tmp_path / f"{name}-{seed}"
                ours.add(fuzz(api.url, headers, phases, examples, seed, folder))
            found.add(ours)
        states = _states(api.url)
    print(f"\nseed {SEED}, {time.monotonic() - began:.0f} s, experiments: {states}")
    print(found.table())
    assert found.words == []
    assert sum(found.crashes.values()) == 0
    assert found.total >= max(CASES, 300)
    assert states["succeeded"] >= 1


def _states(url: str) -> dict[str, int]:
    """How many experiments are in each state, up to 200."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        page = client.get("/v1/experiments", params={"page_size": 200}).json()["experiments"]
    found = [one["state"] for one in page]
    return {state: found.count(state) for state in ("succeeded", *sorted(set(found)))}
