"""Small experiments, and all that is to be seen of their numbers."""

from shared.spec import ExperimentSpec


def body(**changes):
    return {
        "name": "small",
        "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
        "model": {"name": "all_cnn", "width": 0.05},
        "training": {
            "epochs_after_deficit": 2,
            "batch_size": 64,
            "augmentation": {"shift": 2},
        },
        "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
        "sweep": {"deficit.end": [0, 2, 4]},
        "fisher": {"every": 2, "samples": 16},
    } | changes


def submit(lab, **changes):
    experiment, _ = lab.service.accept(ExperimentSpec.model_validate(body(**changes)))
    return experiment.id


def results(lab, id):
    return numbers(lab.service.records, lab.service.experiment(id).plan)


def numbers(records, plan):
    """All that a user could see of the numbers: metrics, measurements, digests of weights."""
    out = []
    for run in plan.runs:
        rows, checkpoints = [], {}
        for segment in (plan.segments[i] for i in run.segments):
            for manifest in records.spanning(segment.scope, segment.key, segment.start):
                stored = records.metrics(manifest)
                rows += [r for r in stored if segment.start < r["epoch"] <= segment.end]
            checkpoints[segment.end] = manifest.checkpoint
        measured = {
            (epoch, digest): records.measurement(plan.scope(run), key, digest)["values"]
            for epoch, key, digest in run.probes
        }
        out.append((rows, checkpoints, measured))
    return out
