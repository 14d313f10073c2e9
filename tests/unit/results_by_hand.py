"""Plans and results written out by hand, which the tests of tables, scores and figures read."""

from shared.chain import Manifest
from shared.plan import Epochs, Plan, RunPlan, Segment
from shared.results import METRICS, Results

EXPERIMENT = "ours"


def time_of(epoch):
    return f"2026-01-01T00:{epoch:02d}:00.000Z"


def epoch_row(epoch, **values):
    metrics = dict.fromkeys(METRICS, 0.5) | values
    return {"epoch": epoch, "stimulus": [], **metrics}


def manifest(start, end, experiment=EXPERIMENT, numerics="cpu"):
    provenance = {"experiment": experiment, "numerics": numerics,
                  "epoch_times": [time_of(e) for e in range(start + 1, end + 1)]}  # fmt: skip
    return Manifest(key=f"state{end}", parent=f"state{start}", start=start, end=end,
                    checkpoint="", metrics=f"{start}-{end}", provenance=provenance)  # fmt: skip


def blob(one):
    return [epoch_row(e, train_loss=float(e)) for e in range(one.start + 1, one.end + 1)]


def segment(key, start, end, config=0):
    return Segment(scope="", key=key, parent="", start=start, end=end, config=config,
                   stretches=[], keys=[], stored=False)  # fmt: skip


def run_plan(index, segments, epochs, seed=0, variant=None, config=0, **more):
    values = {"point": {}, "windows": [], "probes": []} | more
    return RunPlan(index=index, variant=variant, seed=seed, epochs=epochs, config=config,
                   segments=segments, **values)  # fmt: skip


def plan_of(segments, runs, probes=None, configs=()):
    nothing = Epochs(alone=0, shared=0, stored=0, new=0, replayed=0)
    return Plan(configs=list(configs), probes=probes or {}, segments=segments, runs=runs,
                epochs=nothing, device_seconds=0)  # fmt: skip


def results_of(plan, epochs, measured=None):
    """`epochs`: segment key -> its rows, for the segments that are done."""
    facts = {"numerics": "cpu", "reused": False}
    done = {
        key: [row | facts | {"time": time_of(row["epoch"])} for row in part]
        for key, part in epochs.items()
    }
    found = measured or {}
    return Results(plan, EXPERIMENT, lambda s: done.get(s.key), lambda *name: found.get(name))


def fisher_probe(**changes):
    return {"kind": "fisher", "estimator": "exact", "precision": "float32", "samples": 10,
            "split": "train", "stimulus": [], "probe_set": "fixed"} | changes  # fmt: skip


def measured(probe, epoch, **values):
    return {
        "probe": probe,
        "key": f"k{epoch}",
        "epoch": epoch,
        "values": values,
        "provenance": {"experiment": "theirs", "time": time_of(epoch), "numerics": "cpu"},
    }


def measurement(epoch, trace, images=(), layers=None, **probe):
    """Of the Fisher trace. `layers`: name -> trace, one convolution with all of it by default."""
    parts = {"0.conv": trace} if layers is None else layers
    return measured(
        fisher_probe(stimulus=list(images), **probe),
        epoch,
        trace=trace,
        standard_error="NaN",
        samples=10,
        estimator="exact",
        layers=[
            {"name": name, "trace": part, "standard_error": 0.1, "parameters": 8}
            | (
                {"share": part / trace, "share_standard_error": 0.01}
                if not isinstance(trace, str) and trace
                else {}
            )
            for name, part in parts.items()
        ],
        predictive_entropy=0.2,
        mean_confidence=0.9,
        batchnorm_statistics="running",
    )


def second_order_probe(**changes):
    return {"kind": "second_order", "split": "train", "stimulus": [], "probe_set": "fixed",
            "samples": 256, "directions": 4, "sizes": [0.01, 0.1]} | changes  # fmt: skip


def second_order_measurement(epoch, quadratic=2.0, ratios=(1.05, 0.5), **probe):
    """The quadratic term at size 0.01, and the ratios of KL to it at 0.01 and 0.1."""
    sizes = [
        {"size": size, "length": 30 * size, "kl": ratio * at, "kl_standard_error": 0.1 * at,
         "quadratic": at, "quadratic_standard_error": 0.05 * at, "ratio": ratio,
         "ratio_standard_error": 0.02, "n": 1024}
        for size, at, ratio in zip((0.01, 0.1), (quadratic, 100 * quadratic), ratios, strict=True)
    ]  # fmt: skip
    return measured(
        second_order_probe(**probe), epoch, sizes=sizes, holds_up_to=0.01, weights_length=30.0,
        samples=256, directions=4,
    )  # fmt: skip


def information_probe(**changes):
    return {"kind": "information_plane", "split": "train", "stimulus": [], "probe_set": "fixed",
            "samples": 64, "layers": [0, 3], "noise": "relative", "noise_variance": 0.1,
            "bins": 30, "decoder": True} | changes  # fmt: skip


def information_measurement(epoch, upper=4.0, decoder=1.0, **probe):
    """Of two layers; the second has half of everything."""
    layers = [
        {"layer": number, "units": 8, "bin_size": 0.1, "codes": 60, "noise_variance": 2.0,
         "i_xt_binned": 5.9 * share, "i_xt_lower": upper * share / 2,
         "i_xt_upper": upper * share, "i_ty_binned": 2.0 * share,
         "i_ty_lower": 0.0, "i_ty_upper": 2.0 * share, "i_ty_kl": 1.5 * share,
         "i_ty_bhattacharyya": 0.7 * share,
         "i_ty_decoder": None if decoder is None else decoder * share,
         "i_ty_decoder_error": None if decoder is None else 0.1,
         "cross_entropy": 1.0, "held_out_accuracy": 0.8}
        for number, share in ((0, 1), (3, 0.5))
    ]  # fmt: skip
    return measured(
        information_probe(**probe), epoch, layers=layers, samples=64, classes=4, log2_samples=6.0,
        log2_classes=2.0, label_entropy=1.99, batchnorm_statistics="running",
    )  # fmt: skip


def sweep(accuracies, missing=()):
    """{(variant, removal epoch, seed): final accuracy} as runs of 6 epochs each."""
    segments, runs, epochs = [], [], {}
    for i, ((variant, end, seed), value) in enumerate(accuracies.items()):
        window = {"name": "blur", "start": 0, "end": end, "resolution": 8}
        segments.append(segment(f"s{i}", 0, 6, config=seed))
        runs.append(run_plan(i, [i], 6, seed, variant, seed, point={"deficit.end": end},
                             windows=[window]))  # fmt: skip
        # The first of six epochs does not count; the five that do have `value` as their mean.
        steps = [9.0, value - 0.02, value + 0.02, value - 0.01, value + 0.01, value]
        part = [epoch_row(e + 1, test_accuracy=a) for e, a in enumerate(steps)]
        if i not in missing:
            epochs[f"s{i}"] = part
    return results_of(plan_of(segments, runs), epochs)


TABLE = {
    (variant, end, seed): 0.9 - 0.01 * end * (variant == "blur") + 0.003 * seed * (end + 1)
    for variant in ("blur", "flip")
    for end in (0, 4, 5)
    for seed in (0, 1, 2)
}


def blurred(start, end):
    return {"name": "blur", "start": start, "end": end, "resolution": 8}


def experiment_of(*lives, configs=()):
    """Results of runs given one by one, as {"accuracies": test accuracy of each epoch} with what
    else a `RunPlan` has, `measured` ({(epoch, probe name): measurement}) and `ended` (True)."""
    segments, runs, epochs, probes, found = [], [], {}, {}, {}
    for i, life in enumerate(lives):
        more = dict(life)
        accuracies, ended = more.pop("accuracies"), more.pop("ended", True)
        asked = []
        for (epoch, name), one in more.pop("measured", {}).items():
            asked.append((epoch, f"k{i}.{epoch}", name))
            if one is not None:  # None: still to be measured; the probe stands elsewhere
                probes[name] = one["probe"]
                found["", f"k{i}.{epoch}", name] = one
        last = len(accuracies)
        segments.append(segment(f"s{i}", 0, last, config=more.get("config", 0)))
        runs.append(run_plan(i, [i], last, probes=asked, **more))
        if ended:
            epochs[f"s{i}"] = [
                epoch_row(e + 1, test_accuracy=value) for e, value in enumerate(accuracies)
            ]
    return results_of(plan_of(segments, runs, probes, configs), epochs, found)
