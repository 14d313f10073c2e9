"""The API process with a stopwatch: what each pass of its reconcile loop took and asked.

python -m tests.bench.scale_api      prints one line a pass, for `tests.bench.scale_system`
"""

import json
import resource
import time
from collections import Counter
from typing import Any

import urllib3

from api import main
from api.reconcile import Reconciler
from shared.plan import Plan
from shared.records import Records

MARK = "SCALE "
_requests: Counter[str] = Counter()
"""Of the whole process to the store, by method. The API's own polls of readiness are among them."""
_looks: list[float] = []
_plans: list[str] = []
"""Read from the store: the process had none in memory."""


def _count_requests() -> None:
    ask = urllib3.PoolManager.urlopen

    def counted(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        _requests[method] += 1
        return ask(self, method, *args, **kwargs)

    urllib3.PoolManager.urlopen = counted  # type: ignore[method-assign]


def _count_plans() -> None:
    plan = Records.plan

    def counted(self: Records, experiment: str) -> Plan:
        _plans.append(experiment)
        return plan(self, experiment)

    Records.plan = counted  # type: ignore[method-assign]


def _time_passes() -> None:
    pass_over, look_at = Reconciler.pass_over, Reconciler.look_at

    def looked_at(self: Reconciler, id: str) -> None:
        began = time.monotonic()
        look_at(self, id)
        _looks.append(time.monotonic() - began)

    def passed_over(self: Reconciler) -> None:
        _looks.clear()
        _plans.clear()
        began = time.monotonic()
        pass_over(self)
        ended = time.monotonic()
        said = {
            "at": ended,
            "seconds": ended - began,
            "looks": len(_looks),
            "longest_look": max(_looks, default=0.0),
            "plans": len(_plans),
            "watched": len(self.watch._watched),
            "requests": sum(_requests.values()),
            "most_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(MARK + json.dumps(said), flush=True)

    Reconciler.look_at = looked_at  # type: ignore[method-assign]
    Reconciler.pass_over = passed_over  # type: ignore[method-assign]


if __name__ == "__main__":
    _count_requests()
    _count_plans()
    _time_passes()
    main.main()
