"""The paper's figures as presets: what they cost, what they share, what is said of them."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api import bodies, errors
from api.figures import FIGURES, NORMALISED, OVERLAID
from api.routers import catalog
from shared import sweep
from shared.errors import Invalid
from shared.paper_curves import CURVES
from shared.presets import PRESETS, SCALES, Scale, preview, spec
from shared.presets.preset import Json
from shared.spec import ExperimentSpec

JSON = "application/json"
OF_REMOVAL = (
    "fig1a", "fig2left", "fig2right", "fig3left", "fig3centre", "fig3right", "adam", "weight_decay",
)  # fmt: skip
OF_THE_LECTURE = ("information_plane", "bottleneck", "pruning")
OF_THE_PAPER = [name for name in PRESETS if name not in ("deep_linear", *OF_THE_LECTURE)]
everywhere = pytest.mark.parametrize(
    ("name", "scale"), [(name, scale) for name in PRESETS for scale in SCALES]
)


def asked(name: str, scale: Scale, **changes: Any) -> ExperimentSpec:
    whole = bodies.merged(spec(name, PRESETS[name], scale), changes)
    return ExperimentSpec.model_validate(whole)


def swept(whole: Json) -> list[Any]:
    [values] = whole["sweep"].values()
    return list(values)


# --- what they are ---


@everywhere
def test_a_preset_is_a_spec_that_can_be_planned(name: str, scale: Scale) -> None:
    given = asked(name, scale)
    made = preview.plan(given)
    assert len(made.runs) == sweep.run_count(given)
    assert made.epochs.shared < made.epochs.alone
    assert given.tags == {"preset": name, "scale": scale}


@everywhere
def test_training_is_written_out_whole(name: str, scale: Scale) -> None:
    whole = spec(name, PRESETS[name], scale)
    accepted = ExperimentSpec.model_validate(whole).model_dump(mode="json")
    left_out = set(accepted["training"]) - set(whole["training"])
    assert left_out <= {"epochs", "epochs_after_deficit", "changes"}
    for part in ("optimizer", "schedule", "augmentation"):
        assert accepted["training"][part] == whole["training"][part]


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_the_small_scale_has_three_seeds_and_five_points_on_its_axis(name: str) -> None:
    whole = spec(name, PRESETS[name], "mini")
    assert whole["seeds"] == [0, 1, 2]
    assert whole["dataset"]["name"] == "gratings"
    if name in ("fig1c", "fig4left", *OF_REMOVAL):
        assert len([value for value in swept(whole) if value is not None]) >= 5
    else:  # the axis is time
        [measured] = [whole[part] for part in ("fisher", "filters", "gradients") if part in whole]
        epochs = measured.get("epochs") or range(0, 33, measured["every"])
        assert len(epochs) >= 5


COST = {
    "fig1a": 1420, "fig1c": 1740, "fig3left": 1780, "fig3centre": 2820, "fig3right": 2160,
    "fig2right": 4680,
}  # fmt: skip


@pytest.mark.parametrize(("name", "epochs"), COST.items())
def test_a_seed_of_the_papers_sweep_costs_what_its_branches_cost(name: str, epochs: int) -> None:
    made = preview.plan(asked(name, "paper", controls=None))
    clean_alone = 160 - 140 if name == "fig1c" else 0  # its clean run goes on behind the last onset
    assert epochs == made.epochs.shared - clean_alone


def trained(name: str, scale: Scale = "mini") -> set[str]:
    return {key for segment in preview.plan(asked(name, scale)).segments for key in segment.keys}


def test_all_presets_at_the_small_scale_are_an_hour_of_training() -> None:
    together: set[str] = set().union(*(trained(name) for name in OF_THE_PAPER))
    assert len(together) <= 16_000


def test_the_information_plane_trains_what_the_trace_does_and_runs_with_a_removal_at_40() -> None:
    whole = spec("information_plane", PRESETS["information_plane"], "mini")
    assert (whole["seeds"], swept(whole)) == ([0, 1, 2], [0, 8, 32])
    assert trained("information_plane") < trained("fig5top")
    assert len(whole["information_plane"]["epochs"]) >= 5


def test_the_bottleneck_trains_what_the_removal_of_four_deficits_does() -> None:
    whole = spec("bottleneck", PRESETS["bottleneck"], "mini")
    assert (whole["seeds"], swept(whole)) == ([0, 1, 2], [0, 8, 12, 20, 28])
    assert trained("bottleneck") < trained("fig2left")
    assert whole["linear_path"]["points"] >= 11


def test_the_deep_linear_network_is_the_same_at_every_scale() -> None:
    made = [spec("deep_linear", PRESETS["deep_linear"], scale) for scale in SCALES]
    for whole in made:
        assert whole["seeds"] == [0, 1, 2, 3, 4]
        assert len(swept(whole)) >= 5
        assert whole | {"name": "", "tags": {}} == made[0] | {"name": "", "tags": {}}
    words = {PRESETS["deep_linear"].about(scale) for scale in SCALES}
    assert len(words) == 1
    assert len({PRESETS["fig1a"].about(scale) for scale in SCALES}) == 3


def test_what_the_small_presets_have_in_common_is_trained_once() -> None:
    sweep_of_blur = trained("fig1a")
    assert trained("filters") < trained("fig5top")
    assert trained("fig5top") == trained("fig4right")
    # A blur that stays goes on behind the last removal.
    assert len(trained("fig4right") - sweep_of_blur) == 3 * (32 - 28)
    assert len(trained("fig5bottom") - trained("fig2left")) == 3 * (32 - 28)
    alone = len(trained("fig2left"))
    assert len(trained("fig2left") - sweep_of_blur) < 0.75 * alone


@pytest.mark.parametrize("name", OF_REMOVAL)
def test_an_annealed_removal_sweep_brings_its_controls(name: str) -> None:
    for scale in SCALES:
        given = asked(name, scale)
        annealed = given.training.schedule.name == "exponential"
        assert given.controls.restart == annealed
        assert (given.controls.constant is not None) == annealed
        told = PRESETS[name].control
        assert ("its own control" in told) == (not annealed)


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_half_the_epochs_cover_the_same_range_of_the_learning_rate(name: str) -> None:
    whole, half = (asked(name, scale) for scale in ("paper", "half"))
    longest, shorter = (
        max(point.run.total_epochs for point in sweep.points(one)) for one in (whole, half)
    )
    assert longest == 2 * shorter
    if whole.training.schedule.name == "exponential":
        before, after = (one.training.schedule.gamma for one in (whole, half))
        assert before**longest == pytest.approx(after**shorter, rel=1e-6)
    assert (whole.model, whole.dataset) == (half.model, half.dataset)


def test_removal_epochs_are_the_papers_at_every_scale() -> None:
    assert swept(spec("fig1a", PRESETS["fig1a"], "paper")) == [0, 20, 40, 60, 80, 100, 120, 140]
    assert swept(spec("fig1a", PRESETS["fig1a"], "half")) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert swept(spec("fig1a", PRESETS["fig1a"], "mini")) == [0, 4, 8, 12, 16, 20, 24, 28]
    for name in OF_REMOVAL:
        paper, mini = (swept(spec(name, PRESETS[name], scale)) for scale in ("paper", "mini"))
        times = max(paper) / max(mini)
        assert {times * end for end in mini} <= set(paper)


# --- what is said of them ---


@pytest.mark.parametrize("name", PRESETS)
def test_its_figures_exist_and_take_the_options_that_it_names(name: str) -> None:
    for drawing in PRESETS[name].figures:
        assert drawing.figure in FIGURES
        assert not drawing.overlay or drawing.figure in OVERLAID
        assert drawing.normalisation is None or drawing.figure in NORMALISED
        for id in drawing.overlay:
            assert CURVES[id].fits == drawing.figure


def test_every_digitised_curve_that_fits_a_figure_is_laid_over_the_preset_it_belongs_to() -> None:
    for id, curve in CURVES.items():
        if curve.preset is not None and curve.fits is not None:
            over = {i for drawing in PRESETS[curve.preset].figures for i in drawing.overlay}
            assert id in over


@pytest.mark.parametrize("name", PRESETS)
def test_sources_speak_of_fields_that_the_spec_has(name: str) -> None:
    preset = PRESETS[name]
    whole = spec(name, preset, "mini")
    for path in {*preset.sources, *preset.at_mini}:
        head, _, rest = path.partition(".")
        assert head in whole, path
        if head in ("dataset", "model", "training"):
            here = whole[head]
            for part in rest.split(".") if rest else []:
                assert part in here, path
                here = here[part]


# --- over HTTP, without a store ---


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    errors.install(app)
    app.include_router(catalog.router)
    return TestClient(app)


def test_the_list_says_what_each_scale_costs(client: TestClient) -> None:
    listed = client.get("/v1/presets").json()["presets"]
    assert [one["name"] for one in listed] == list(PRESETS)
    [fig1a] = [one for one in listed if one["name"] == "fig1a"]
    # One curve and its twin at a constant rate: a trunk of 140 and eight branches each; restarted,
    # all but the first branch are new.
    assert fig1a["scales"]["paper"]["plan"]["epochs"] == {
        "alone": 3 * (1120 // 2 + 8 * 160),
        "shared": 2 * (140 + 8 * 160) + 7 * 160,
    }
    assert all(set(one["scales"]) == set(SCALES) for one in listed)


def test_one_preset_is_shown_whole_with_what_stays_open(client: TestClient) -> None:
    shown = client.get("/v1/presets/fig1a?scale=mini").json()
    assert shown["spec"] == spec("fig1a", PRESETS["fig1a"], "mini")
    assert shown["sources"]["dataset.name"].startswith("mini: ")
    chosen = {choice["path"]: choice["chosen"] for choice in shown["choices"]}
    assert chosen["training.optimizer.momentum"] == [0.9]
    assert chosen["model.head"] == ["plain"]
    assert shown["plan"]["runs"] == 72
    assert client.get("/v1/presets/fig1a").json()["scale"] == "paper"


def test_a_preset_that_is_not_there_is_a_problem_with_the_choices(client: TestClient) -> None:
    answer = client.get("/v1/presets/fig1b")
    assert answer.status_code == 404
    assert "did you mean 'fig1" in answer.json()["detail"]
    assert "gradient_norms" in answer.json()["detail"]


# --- a preset with overrides ---


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_is_that_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    kept = repr(target)
    assert result == bodies.merged(target, patch)
    assert kept == repr(target)


def read(**body: Any) -> ExperimentSpec:
    with bodies.experiment(JSON, json.dumps(body).encode()) as found:
        return found


def refusal(**body: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        read(**body)
    return [(fault.pointer, fault.message) for fault in refused.value.faults]


def test_a_preset_with_overrides_is_its_spec_with_these_changes() -> None:
    found = read(preset="fig1a", scale="mini", seeds=[7], controls=None, tags={"lab": "v"})
    whole = spec("fig1a", PRESETS["fig1a"], "mini")
    del whole["controls"]
    tags = {"preset": "fig1a", "scale": "mini", "lab": "v"}
    expected = ExperimentSpec.model_validate({**whole, "seeds": [7], "tags": tags})
    assert found == expected
    assert found.model_fields_set == expected.model_fields_set
    deeper = read(preset="fig1a", scale="mini", training={"optimizer": {"momentum": 0.0}})
    assert deeper.training.optimizer.model_dump() == {
        "name": "sgd", "learning_rate": 0.05, "momentum": 0.0, "weight_decay": 0.001,
    }  # fmt: skip
    own = read(preset="fig1a", scale="mini", tags={"preset": "mine"})
    assert own.tags == {"preset": "mine", "scale": "mini"}


def test_a_variant_that_sets_null_is_refused_since_a_patch_would_drop_it() -> None:
    [(pointer, message)] = refusal(
        preset="fig1a", scale="mini", variants={"clean": {"deficit": None}}
    )
    assert pointer == "/variants/clean/deficit"
    assert "whole spec" in message


def test_a_whole_spec_is_read_as_before() -> None:
    assert read(training={"epochs": 3}) == ExperimentSpec.model_validate(
        {"training": {"epochs": 3}}
    )
    [(pointer, message)] = refusal(training={"epochs": 3}, scale="mini")
    assert pointer == "/scale"
    assert "no such field" in message


def test_an_unknown_preset_or_scale_is_refused_with_the_choices() -> None:
    [(pointer, message)] = refusal(preset="fig1d", scale="mini")
    assert pointer == "/preset"
    assert "'fig1c'" in message or "'fig1a'" in message
    assert "weight_decay" in message
    found = dict(refusal(preset=["fig1a"], scale=3))
    assert set(found) == {"/preset", "/scale"}
    assert "known here: paper, half, mini" in found["/scale"]
    [(pointer, message)] = refusal(preset="fig1a")
    assert pointer == "/scale"
    assert "is required" in message


def test_what_is_wrong_with_an_override_points_to_it() -> None:
    def pointers(**changes: Any) -> list[str]:
        return [pointer for pointer, _ in refusal(preset="fig1a", scale="mini", **changes)]

    assert pointers(training={"optimizer": {"momentum": 2}}) == ["/training/optimizer/momentum"]
    assert pointers(modle={}) == ["/modle"]
    assert pointers(modle=None, controls=None) == ["/modle"]
    assert pointers(seeds=[0, "1"]) == ["/seeds/1"]
    # The preset counts epochs after the deficit; with another length there are two.
    assert pointers(training={"epochs": 9}) == ["/training/epochs"]
    # Nothing in the body has this name: the field around it has.
    assert pointers(training={"epochs_after_deficit": None}) == ["/training"]


def test_what_the_plan_refuses_is_said_of_the_override_or_else_of_the_preset() -> None:
    def refused(**changes: Any) -> str:
        raw = json.dumps({"preset": "fig1a", "scale": "mini", **changes}).encode()
        with pytest.raises(Invalid) as found, bodies.experiment(JSON, raw) as made:
            preview.plan(made)
        return found.value.faults[0].pointer

    assert refused(sweep={"deficit.end": [0, 4, 4]}) == "/sweep/deficit.end"
    assert refused(fisher={"epochs": [10, 99]}) == "/fisher/epochs/1"
    assert refused(training={"augmentation": {"shift": 20}}) == "/training/augmentation/shift"
    assert refused(training={"epochs": 20, "epochs_after_deficit": None}) == "/preset"
