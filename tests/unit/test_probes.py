"""Probes on a real trainer: what is measured, on which images, and that nothing is disturbed."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from shared.arrays import Arrays, hash_order
from shared.errors import Invalid
from shared.measurements import (
    Filters,
    Fisher,
    Gradients,
    InformationPlane,
    LaterMeasurements,
    Measurements,
    Saliency,
    Scoring,
    SecondOrder,
)
from shared.probe import ACCURACY, FILTERS, FISHER, KINDS, LAYER_GRADIENTS, LINEAR_PATH, PRUNED
from shared.probe import probes as probes_of
from shared.schedule import Facts, timeline
from shared.spec import RunSpec
from worker import accuracy, filters, probes, rng
from worker.curvature import layer_gradients
from worker.fisher import ESTIMATORS, measure
from worker.shown import Shown
from worker.train import Trainer

FACTS = Facts(
    name="made", digest="", shape=(12, 12, 3), classes=4, train=50, test=20, mean=(), std=()
)

BLUR = [{"name": "blur", "resolution": 4}]
NOISE = [{"name": "noise", "redraw": "every_epoch"}]
FIXED_NOISE = [{"name": "noise", "redraw": "never"}]


def idle() -> None:
    pass


def trainer(model: str = "all_cnn") -> Trainer:
    draw = np.random.default_rng(0)
    arrays = Arrays(
        draw.integers(0, 256, (50, 12, 12, 3), dtype=np.uint8),
        draw.integers(0, 4, 50),
        draw.integers(0, 256, (20, 12, 12, 3), dtype=np.uint8),
        draw.integers(0, 4, 20),
    )
    config = {
        "dataset": {
            "train_samples": 50,
            "test_samples": 20,
            "shape": [12, 12, 3],
            "classes": 4,
            "mean": [0.49, 0.48, 0.45],
            "std": [0.2, 0.2, 0.2],
        },
        "model": {"name": model, "width": 0.05},
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.0},
        "batch_size": 16,
        "precision": "float32",
        "augmentation": {"shift": 2, "horizontal_flip": True},
        "seed": 0,
    }
    return Trainer(config, arrays)


def asking(kind: str, spec: dict[str, Any]) -> Measurements:
    shown = {key: spec[key] for key in ("epochs", "samples", "split") if key in spec}
    match kind:
        case "fisher":
            return Measurements(fisher=Fisher(**spec))
        case "second_order":
            return Measurements(second_order=SecondOrder(**shown, directions=2))
        case "layer_gradients":
            return Measurements(gradients=Gradients(**shown))
        case "filters":
            return Measurements(filters=Filters(epochs=[0]))
        case "information_plane":
            return Measurements(information_plane=InformationPlane(**shown, layers=[0, 6]))
        case "saliency":
            return Measurements(saliency=Saliency(**shown))
        case "pruned":
            return Measurements()
        case "accuracy":
            scoring = Scoring(batchnorm_statistics="reestimated", samples=spec["samples"])
            return Measurements(scoring=scoring)
    return Measurements(fisher=Fisher(**{**spec, "beside": [kind]}))


def probe(**changes: Any) -> dict[str, Any]:
    """As shared/probe.py writes them; of several epochs the first one's."""
    spec = {"epochs": [0], "samples": 40, "beside": [], **changes}
    kind = spec.pop("kind", FISHER)
    stimulus = spec.pop("stimulus", [])
    pruning = {"at": 2, "sparsity": 0.5, "criterion": "fisher"} if kind == PRUNED else None
    run = RunSpec.model_validate({"training": {"epochs": 5}, "pruning": pruning})
    found = probes_of(asking(kind, spec), run, timeline(run), FACTS)
    made = next(one for _, one, _ in found if one["kind"] == kind)
    if kind == FILTERS:
        return made
    return {**made, "statistics_stimulus" if kind == ACCURACY else "stimulus": stimulus}


def trace(trainer: Trainer, epoch: int = 1, **changes: Any) -> float:
    found: float = probes.measure(trainer, probe(**changes), epoch, idle)["trace"]
    return found


EVERY = [{"kind": kind} for kind in KINDS if kind not in (FISHER, LINEAR_PATH)]
EVERY += [{"estimator": name} for name in ESTIMATORS]


def named(changes: dict) -> str:
    return next(iter(changes.values()))


CASES = [
    (changes, model)
    for changes in EVERY
    for model in ("all_cnn", "resnet18", "mlp")
    if model == "all_cnn" or named(changes) != "variational"  # made for All-CNN alone
]


@pytest.mark.parametrize(
    ("changes", "model"), CASES, ids=[f"{named(changes)}-{model}" for changes, model in CASES]
)
def test_measuring_between_epochs_does_not_change_training(model: str, changes: dict) -> None:
    alone, watched = trainer(model), trainer(model)
    for epoch in range(2):
        torch.manual_seed(5)
        expected = alone.train_epoch(epoch, BLUR, 0.05, idle)
        torch.manual_seed(5)
        before = [module.training for module in watched.model.modules()]
        fast = "estimator" in changes and named(changes) != "variational"
        for stimulus in ([], BLUR, NOISE)[: 3 if fast else 1]:
            probes.measure(watched, probe(stimulus=stimulus, **changes), epoch, idle)
        assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(5).get_state())
        assert before == [module.training for module in watched.model.modules()]
        assert expected == watched.train_epoch(epoch, BLUR, 0.05, idle)
        assert alone.checkpoint() == watched.checkpoint()


def test_a_line_to_another_network_does_not_change_training() -> None:
    line = {"kind": LINEAR_PATH, "points": 3, "train_samples": 20, "test_samples": 20}
    alone, watched, other = trainer(), trainer(), trainer("all_cnn").model
    for epoch in range(2):
        expected = alone.train_epoch(epoch, BLUR, 0.05, idle)
        torch.manual_seed(5)
        probes.measure_between(other, watched, line, epoch, idle)
        assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(5).get_state())
        assert expected == watched.train_epoch(epoch, BLUR, 0.05, idle)
        assert alone.checkpoint() == watched.checkpoint()


def test_a_probe_measures_the_images_whose_hash_sorts_first_under_its_stimulus() -> None:
    subject = trainer()
    subject.train_epoch(0, [], 0.05, idle)
    rows = torch.tensor(hash_order("test", 20)[:12])
    images, labels = subject.show("test", rows, BLUR, 0)
    asked = probe(estimator="exact", split="test", samples=12, stimulus=BLUR)
    shown = Shown.of(images, labels)
    expected = measure(subject.model, shown, asked, rng.Stream(0, "unused"), idle)
    found = probes.measure(subject, asked, 1, idle)
    assert found == {**expected, "batchnorm_statistics": "running"}


def test_gradients_by_layer_are_of_the_probes_images_with_the_labels_shown() -> None:
    subject, asked = trainer(), probe(kind=LAYER_GRADIENTS, samples=12, split="test")
    subject.train_epoch(0, [], 0.05, idle)
    relabelled = {**asked, "stimulus": [{"name": "label_permutation"}]}
    rows = torch.tensor(hash_order("test", 20)[:12])
    for one in (asked, relabelled):
        shown = Shown.of(*subject.show("test", rows, one["stimulus"], 0))
        expected = layer_gradients.measure(subject.model, shown, one, rng.Stream(0, "-"), idle)
        found = probes.measure(subject, one, 1, idle)
        assert found == {**expected, "batchnorm_statistics": "running"}
    assert probes.measure(subject, asked, 1, idle) != probes.measure(subject, relabelled, 1, idle)


@pytest.mark.parametrize("stimulus", [[], BLUR, NOISE], ids=["clean", "blur", "noise"])
def test_accuracy_is_on_clean_test_images_with_statistics_of_what_was_shown_last(
    stimulus: list[dict[str, Any]],
) -> None:
    subject, asked = trainer(), probe(kind=ACCURACY, samples=40, stimulus=stimulus)
    for epoch in range(2):
        subject.train_epoch(epoch, stimulus, 0.05, idle)
    test = Shown.of(*subject.show("test", torch.tensor(hash_order("test", 20).copy()), [], 0))
    rows = torch.tensor(hash_order("train", 50)[:40])
    training = Shown.of(*subject.show("train", rows, stimulus, 1))
    expected = accuracy.measure(subject.model, test, training, 16, idle)
    found = probes.measure(subject, asked, 2, idle)
    assert found == {**expected, "batchnorm_statistics": "reestimated"}
    assert (found["samples"], found["statistics_samples"]) == (20, 40)
    assert found["loss"] != subject.evaluate(idle)["test_loss"]


def test_without_batchnorm_accuracy_is_what_every_epoch_records() -> None:
    subject = trainer()
    subject.model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(432, 4))
    recorded, found = subject.evaluate(idle), probes.measure(subject, probe(kind=ACCURACY), 1, idle)
    assert recorded["test_accuracy"] == found["accuracy"]
    assert math.isclose(recorded["test_loss"], found["loss"], rel_tol=1e-6)


def test_filters_are_those_of_the_state_and_no_image_is_looked_at() -> None:
    subject, asked = trainer(), probe(kind=FILTERS)
    assert asked == {"kind": "filters"}
    before = probes.measure(subject, asked, 0, idle)
    subject.train_epoch(0, [], 0.05, idle)
    found = probes.measure(subject, asked, 1, idle)
    assert found == filters.measure(subject.model, (12, 12, 3), idle)
    assert found["weights"] != before["weights"]


def test_what_is_asked_for_later_is_named_as_what_was_asked_for_at_first() -> None:
    run = RunSpec.model_validate({"training": {"epochs": 5}})
    spec = {
        "gradients": {"epochs": [1, 5], "samples": 40},
        "filters": {"epochs": [5]},
        "information_plane": {"epochs": [5], "layers": [-1, 0]},
    }
    made = [kind.model_validate(spec) for kind in (Measurements, LaterMeasurements)]
    first, later = (probes_of(one, run, timeline(run), FACTS) for one in made)
    assert first == later
    assert [(e, p["kind"]) for e, p, _ in later] == [
        (1, "layer_gradients"), (5, "layer_gradients"), (5, "filters"), (5, "information_plane")
    ]  # fmt: skip


def test_layers_are_named_by_their_numbers_from_the_front_each_once() -> None:
    run = RunSpec.model_validate({"training": {"epochs": 5}})

    def digest(**asked: Any) -> str:
        made = Measurements(information_plane=InformationPlane(epochs=[5], **asked))
        [(_, found, name)] = probes_of(made, run, timeline(run), FACTS)
        assert found["layers"] == sorted(set(found["layers"]))
        return name

    assert digest(layers=[-1, 0, 9]) == digest(layers=[0, 9]) != digest(layers=[0])
    assert digest() == digest(layers=list(range(-10, 0))) == digest(bins=30, samples=5000)
    assert digest(bin_size=0.1) != digest()


@pytest.mark.parametrize("kind", [Measurements, LaterMeasurements])
def test_a_layer_that_the_network_does_not_have_is_refused_by_name(kind: Any) -> None:
    run = RunSpec.model_validate({"training": {"epochs": 5}, "model": {"name": "mlp"}})
    asked = kind.model_validate({"information_plane": {"epochs": [5], "layers": [-7, 6, 7, -8]}})
    with pytest.raises(Invalid, match="no layer 7: mlp here has 7, 0 to 6, or -7 to -1") as refused:
        probes_of(asked, run, timeline(run), FACTS)
    pointers = [fault.pointer for fault in refused.value.faults]
    assert pointers == ["/information_plane/layers/2", "/information_plane/layers/3"]


def test_bins_are_given_by_their_number_or_their_size() -> None:
    with pytest.raises(ValueError, match="'bins' or 'bin_size', not both"):
        InformationPlane(epochs=[0], bins=30, bin_size=0.1)
    for accepted in (InformationPlane(epochs=[0]), InformationPlane(epochs=[0], bin_size=0.1)):
        assert InformationPlane.model_validate(accepted.model_dump()) == accepted


def test_a_measurement_says_what_a_figure_needs() -> None:
    found = probes.measure(trainer(), probe(), 0, idle)
    assert found["samples"] == 40
    assert found["estimator"] == "signs"
    assert len(found["layers"]) == 17  # eight blocks of convolution and BatchNorm, and the last
    columns = {"name", "parameters", "trace", "standard_error", "share", "share_standard_error"}
    assert columns == set(found["layers"][0])
    assert math.isclose(sum(x["trace"] for x in found["layers"]), found["trace"], rel_tol=1e-12)
    assert math.isclose(sum(x["share"] for x in found["layers"]), 1, rel_tol=1e-12)
    assert 0 < found["predictive_entropy"] <= math.log(4)
    assert 1 / 4 <= found["mean_confidence"] <= 1


def test_more_samples_than_images_are_all_images() -> None:
    assert probe(samples=1000, split="test") == probe(samples=20, split="test")
    assert probes.measure(trainer(), probe(samples=1000, split="test"), 0, idle)["samples"] == 20


def test_the_first_images_until_an_error_is_reached_are_those_of_a_smaller_measurement() -> None:
    subject = trainer()
    stopping = {**probe(), "relative_error": 0.9, "max_samples": 50}
    del stopping["samples"]
    found = probes.measure(subject, stopping, 0, idle)
    assert found["samples"] == 50  # fewer images than the first look
    assert found["relative_error_reached"] is True
    expected = probes.measure(subject, probe(samples=50), 0, idle)
    assert found["trace"] == expected["trace"]


def test_a_measurement_is_the_same_whenever_it_is_made() -> None:
    """Its name is (state key, probe): a replay from a checkpoint has to find the same bits."""
    first, later = trainer(), trainer()
    first.train_epoch(0, [], 0.05, idle)
    later.load(first.checkpoint())
    torch.rand(3)
    assert probes.measure(first, probe(), 1, idle) == probes.measure(later, probe(), 1, idle)


def test_a_fixed_probe_set_keeps_images_and_draws_through_a_run() -> None:
    subject = trainer()
    for estimator in ("signs", "label", "exact"):
        assert trace(subject, 1, estimator=estimator) == trace(subject, 2, estimator=estimator)


def test_a_redrawn_probe_set_has_other_images_and_draws_at_each_epoch() -> None:
    subject = trainer()
    for samples in (40, 50):  # with all 50 images the draws still differ
        redrawn = {"probe_set": "redrawn", "samples": samples}
        assert trace(subject, 1, **redrawn) != trace(subject, 2, **redrawn)
    exact = {"probe_set": "redrawn", "samples": 40, "estimator": "exact"}
    assert trace(subject, 1, **exact) != trace(subject, 2, **exact)
    assert trace(subject, 1, **exact) == trace(subject, 1, **exact)


def test_noise_is_that_of_the_last_epoch_trained() -> None:
    subject = trainer()
    exact = {"estimator": "exact", "stimulus": NOISE}
    assert trace(subject, 0, **exact) == trace(subject, 1, **exact)
    assert trace(subject, 1, **exact) != trace(subject, 2, **exact)
    exact["stimulus"] = FIXED_NOISE
    assert trace(subject, 1, **exact) == trace(subject, 2, **exact)


def test_a_diverged_run_gives_nan() -> None:
    subject = trainer()
    with torch.no_grad():
        next(subject.model.parameters()).fill_(math.nan)
    found = probes.measure(subject, probe(), 1, idle)
    assert math.isnan(found["trace"])
    assert math.isnan(found["predictive_entropy"])


def test_every_pass_ticks_and_a_tick_may_end_the_measurement() -> None:
    ticks = []
    probes.measure(trainer(), probe(estimator="exact"), 1, lambda: ticks.append(1))
    assert len(ticks) == 2 * 4  # 40 images in two batches, four classes

    def cancel() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        probes.measure(trainer(), probe(), 1, cancel)
