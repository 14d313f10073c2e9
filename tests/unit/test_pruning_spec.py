"""The spec of pruning: its steps, what it refuses, and the keys that follow from it."""

import pytest
import shelf
from pydantic import ValidationError

from shared import probe
from shared.schedule import config, keys, prunings, timeline
from shared.spec import RunSpec

TOTAL = 8


def run(pruning=None, **more):
    body = shelf.body(training={"epochs": TOTAL}, deficit=None, **more)
    return RunSpec.model_validate(body | ({"pruning": pruning} if pruning else {}))


def keys_of(asked):
    return keys(config(asked, shelf.FACTS, 0), timeline(asked))


def test_keys_up_to_the_pruning_are_those_of_the_dense_run_and_later_ones_its_own():
    dense, pruned = keys_of(run()), keys_of(run({"at": 3, "sparsity": 0.5}))
    assert pruned[:4] == dense[:4]
    assert not set(pruned[4:]) & set(dense)


def test_a_sparsity_of_nothing_and_a_pruning_at_the_end_share_every_key_with_the_dense_run():
    for pruning in ({"at": 3, "sparsity": 0}, {"at": TOTAL, "sparsity": 0.5}):
        assert keys_of(run(pruning)) == keys_of(run())
    assert run({"at": 3, "sparsity": 0}).pruning.prunes(TOTAL, lambda _: []) == {}


def test_the_key_of_a_pruned_run_is_pinned():
    asked = run({"at": 3, "sparsity": 0.9, "criterion": "fisher", "steps": 2, "every": 2})
    assert (
        keys_of(asked)[TOTAL] == "e83cba0b4f035186b98c20d3f77a796db6909ce2130cd21383dd405cc56ec46b"
    )


def test_what_the_mask_does_not_depend_on_is_not_in_the_key():
    base = {"at": 3, "sparsity": 0.5}
    same = [base, base | {"labels": "true", "samples": 7}, base | {"scored_at": 3}]
    assert len({tuple(keys_of(run(pruning))) for pruning in same}) == 1
    chance = base | {"criterion": "random"}
    assert keys_of(run(chance | {"scored_at": 1})) == keys_of(run(chance))
    other = [base | {"scored_at": 2}, base | {"ranking": "layer"}, base | {"criterion": "fisher"},
             base | {"criterion": "fisher", "labels": "true"},
             base | {"criterion": "fisher", "samples": 7}]  # fmt: skip
    assert len({keys_of(run(pruning))[TOTAL] for pruning in (base, *other)}) == 6


def test_steps_leave_equal_shares_and_end_at_the_sparsity():
    found = prunings(run({"at": 2, "sparsity": 0.75, "steps": 2, "every": 3}))
    assert {epoch: step["sparsity"] for epoch, step in found.items()} == {2: 0.5, 5: 0.75}
    stretches = timeline(run({"at": 2, "sparsity": 0.75, "steps": 2, "every": 3}))
    assert [(s.start, s.pruning.get("at")) for s in stretches] == [(0, None), (2, 2), (5, 5)]


def test_images_are_shown_as_the_network_was_last_shown_them():
    asked = run({"at": 3, "sparsity": 0.5, "criterion": "snip"})
    blurred = asked.model_copy(
        update={"deficits": RunSpec.model_validate(shelf.body(
            deficit={"name": "blur", "resolution": 4, "end": 3})).windows}
    )  # fmt: skip
    assert prunings(asked)[3]["stimulus"] == []
    assert prunings(blurred)[3]["stimulus"] == [{"name": "blur", "resolution": 4}]


@pytest.mark.parametrize(
    ("pruning", "words"),
    [
        ({"at": 9, "sparsity": 0.5}, "after the run's 8 epochs"),
        ({"at": 6, "sparsity": 0.5, "steps": 4}, "the last of 4 steps is at epoch 9"),
        ({"at": 2, "sparsity": 0.5, "criterion": "theis"}, "give channels"),
        ({"at": 2, "sparsity": 0.5, "scored_at": 3}, "lies after 'at'"),
        ({"at": 2, "sparsity": 1.0}, "less than 1"),
    ],
)
def test_what_cannot_be_is_refused_in_words(pruning, words):
    with pytest.raises(ValidationError, match=words):
        run(pruning)


def test_a_network_of_its_last_layer_alone_has_no_channels():
    with pytest.raises(ValidationError, match="no channels to take away"):
        run({"at": 1, "sparsity": 0.5, "granularity": "channels"},
            model={"name": "deep_linear", "depth": 1})  # fmt: skip


def test_each_step_of_each_run_is_measured_before_any_training():
    body = shelf.body(training={"epochs": TOTAL}, deficit=None,
                      pruning={"at": 2, "sparsity": 0.5, "steps": 2, "samples": 5000},
                      sweep={"pruning.sparsity": [0, 0.5],
                             "pruning.criterion": ["magnitude", "snip"]})  # fmt: skip
    found = [
        [(epoch, one["prune"].get("samples")) for epoch, one, _ in path.probes
         if one["kind"] == probe.PRUNED]
        for path in shelf.paths(body)
    ]  # fmt: skip
    assert found == [[], [], [(2, None), (3, None)], [(2, 2000), (3, 2000)]]
