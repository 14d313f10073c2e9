"""Schemathesis walks the real service by its own document, with every kind of token.

`make fuzz` does so at length: HUBEL_FUZZ_CASES and HUBEL_FUZZ_SEED say how long and how.
"""

import os
import random
import secrets
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_process import api_process
from fuzzing import LONG, SHORT, Found, fuzz
from pydantic import SecretStr
from small import submit

from shared.tokens import NewToken, Tokens

pytestmark = pytest.mark.services

CASES = int(os.environ.get("HUBEL_FUZZ_CASES", "0"))
SEED = int(os.environ.get("HUBEL_FUZZ_SEED", random.randrange(2**31) if CASES else 1))
ADMIN = SecretStr(secrets.token_hex(20))
CHEAP = {
    "max_runs": 4,
    "max_epochs": 12,
    "max_device_hours": 1e-5,
    "max_dataset_bytes": 1 << 20,
    "allow_download": False,
    "webhook_private": True,
}
"""What one experiment may cost, so that one worker keeps up."""


@pytest.mark.timeout(3600)
def test_no_case_is_a_5xx_or_breaks_the_document(lab: Any, tmp_path: Path) -> None:
    lab.settings = lab.settings.model_copy(update=CHEAP)
    lab.start_worker()
    found, began = Found(), time.monotonic()
    phases, examples = (LONG, 60) if CASES else (SHORT, 2)
    lab.wait(submit(lab))  # there is something to be found
    wanted = lab.settings.model_copy(update={"require_tokens": True, "admin_token": ADMIN})
    tokens = _tokens(lab)
    with api_process(lab.settings) as free, api_process(wanted) as guarded:
        for name, token in tokens.items():
            url = (free if name == "loopback" else guarded).url
            ours = Found()
            while not ours.cases or ours.total < CASES / len(tokens):
                seed = SEED + ours.total
                folder = tmp_path / f"{name}-{seed}"
                ours.add(fuzz(url, token, phases, examples, seed, folder))
            print(f"{name}: {ours.total} cases, {sum(ours.good.values())} of them 2xx")
            found.add(ours)
        states = _states(free.url)
    print(f"\nseed {SEED}, {time.monotonic() - began:.0f} s, experiments: {states}")
    print(found.table())
    assert found.words == []
    assert sum(found.crashes.values()) == 0
    assert found.total >= max(CASES, 300)
    assert states["succeeded"] >= 1


def _tokens(lab: Any) -> dict[str, str]:
    """Each kind there is, the one that may revoke others last. On loopback none is needed."""
    made = {}
    if CASES:
        store = Tokens(lab.service.store)
        for name in ("read", "submit", "revoked"):
            scope = "submit" if name == "revoked" else name
            token, made[name] = store.make(NewToken(name=name, scopes=[scope]), "local")
            if name == "revoked":
                store.revoke(token.id)
    kinds = {"loopback": "", "garbage": "hubel_garbage"}
    return kinds | made | ({"none": ""} if CASES else {}) | {"admin": ADMIN.get_secret_value()}


def _states(url: str) -> dict[str, int]:
    """How many experiments are in each state, up to 200."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        page = client.get("/v1/experiments", params={"page_size": 200}).json()["experiments"]
    found = [one["state"] for one in page]
    return {state: found.count(state) for state in ("succeeded", *sorted(set(found)))}
