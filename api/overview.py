"""An experiment at a glance, as answers and archives show it: its runs, its summary, what follows
from its measurements."""

from typing import Any

from api.experiment import Experiment
from shared import numbers, rows, score
from shared.bottleneck import bottleneck
from shared.choices import choices
from shared.fits import fisher_fit
from shared.phases import phases
from shared.plan import RunPlan
from shared.plasticity import plasticity
from shared.results import Results
from shared.stages import stages

Json = dict[str, Any]


def run(run: RunPlan, state: str, results: Results) -> Json:
    found = score.final_score(results, run) if state == "succeeded" else None
    return {
        "run": run.index,
        "variant": run.variant,
        "point": run.point,
        "seed": run.seed,
        "state": state,
        "epochs": run.epochs,
        "windows": run.windows,
        "changes": results.plan.changes(run),
        **({"pruning": run.pruning} if run.pruning else {}),
        "score": numbers.shown(found),
        "diverged": results.diverged(run) if state == "succeeded" else None,
    }


def summary(id: str, results: Results) -> Json:
    about = {"id": id, "name": results.name}
    return {**about, **score.summary(results), "choices": choices(results.plan)}


def analysis(id: str, results: Results) -> Json:
    once = results.remembering()  # all five look at the same traces
    found = {
        "phases": phases(once),
        "fits": fisher_fit(once),
        "plasticity": plasticity(once),
        "stages": stages(once),
        "bottleneck": bottleneck(once),
    }
    shown = numbers.shown(found)
    return {"id": id, "name": results.name, **shown, "intervals": score.INTERVAL}


def clock(experiment: Experiment, results: Results) -> rows.Clock:
    """The experiment's own time, which goes on until it has ended."""
    ended = experiment.outcome["finished"] if experiment.outcome else None
    return rows.clock(results, experiment.created, ended)
