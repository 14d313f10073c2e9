from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from test_train import ADAM, BLUR, SGD, arrays, config, ignore

from shared import spec
from shared.arrays import Arrays
from worker.models import build
from worker.regularisers import REGULARISERS, Settings, settings_of
from worker.train import Trainer

USUAL = Settings(0, 0.001, {"shift": 4, "horizontal_flip": True}, torch.arange(100))


def entry(name, **fields):
    return TypeAdapter(spec.Deficit).validate_python({"name": name, "end": 1, **fields}).stimulus()


def trained(timeline, **kind):
    trainer = Trainer(config(**kind), arrays())
    metrics = [
        trainer.train_epoch(epoch, stimulus, 0.05, ignore)
        for epoch, stimulus in enumerate(timeline)
    ]
    return trainer, metrics


def weights(trainer):
    return [value.clone() for value in trainer.model.state_dict().values()]


def same(one, other):
    return all(map(torch.equal, weights(one), weights(other)))


def test_every_window_that_changes_no_images_is_implemented():
    assert REGULARISERS.keys() == spec.NOT_OF_IMAGES


def test_without_such_a_window_the_settings_are_the_usual_ones():
    assert settings_of([], USUAL) is USUAL
    assert settings_of(BLUR, USUAL) is USUAL


def test_each_window_changes_its_own_setting_alone():
    assert settings_of([entry("weight_decay", value=0.5)], USUAL) == replace(
        USUAL, weight_decay=0.5
    )
    still = {"shift": 0, "horizontal_flip": False}
    assert settings_of([*BLUR, entry("augmentation")], USUAL) == replace(USUAL, augmentation=still)
    part = settings_of([entry("partial_data", fraction=0.3)], USUAL)
    assert len(part.images) == 30
    assert replace(part, images=USUAL.images) == USUAL


def test_windows_that_overlap_act_together():
    both = settings_of([entry("weight_decay"), entry("partial_data"), entry("augmentation")], USUAL)
    assert (both.weight_decay, both.augmentation["shift"], len(both.images)) == (0.0, 0, 50)


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_window_that_says_what_is_usual_changes_no_bit(optimizer):
    usual = [
        entry("weight_decay", value=optimizer["weight_decay"]),
        entry("augmentation", shift=2, horizontal_flip=True),
    ]
    found, metrics = trained([usual, [*usual, *BLUR], []], optimizer=optimizer)
    expected, known = trained([[], BLUR, []], optimizer=optimizer)
    assert found.checkpoint() == expected.checkpoint()
    assert metrics == known


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_weight_decay_in_every_epoch_is_the_optimisers_own(optimizer):
    window = [entry("weight_decay", value=0.2)]
    found, _ = trained([window] * 2, optimizer=optimizer)
    expected, _ = trained([[]] * 2, optimizer={**optimizer, "weight_decay": 0.2})
    assert same(found, expected)
    assert not same(found, trained([[]] * 2, optimizer=optimizer)[0])


def test_weight_decay_comes_and_goes_with_its_window():
    settings = config(shift=0)
    trainer = Trainer(settings, arrays())
    reference = build(settings["model"], (12, 12, 3), 4, seed=0)
    decays = [0.001, 0.3, 0.001]
    optimizer = torch.optim.SGD(reference.parameters(), 0.02, momentum=0.9, foreach=False)
    for epoch, decay in enumerate(decays):
        for indices, _ in list(trainer._batches(epoch, trainer._usual)):
            images, labels = trainer.show("train", indices, [], epoch)
            optimizer.zero_grad()
            F.cross_entropy(reference(images), labels).backward()
            for parameter in reference.parameters():
                parameter.grad += decay * parameter.detach()
            optimizer.step()
        window = [entry("weight_decay", value=decay)] if epoch == 1 else []
        trainer.train_epoch(epoch, window, 0.02, ignore)
    for found, expected in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("usual", "asked"), [(2, 0), (0, 3)])
def test_augmentation_in_every_epoch_is_the_trainings_own(usual, asked):
    window = [entry("augmentation", shift=asked, horizontal_flip=asked > 0)]
    found, metrics = trained([window] * 2, shift=usual)
    expected, known = trained([[]] * 2, shift=asked)
    assert found.checkpoint() == expected.checkpoint()
    assert metrics == known
    assert metrics != trained([[]] * 2, shift=usual)[1]


def test_part_of_the_data_is_training_on_a_data_set_of_those_images():
    window, data = [entry("partial_data", fraction=0.5)], arrays()
    found, metrics = trained([window] * 2)
    kept = settings_of(window, found._usual).images
    part = Arrays(
        data.train_images[kept], data.train_labels[kept], data.test_images, data.test_labels
    )
    expected = Trainer(config(part), part)
    known = [expected.train_epoch(epoch, [], 0.05, ignore) for epoch in range(2)]
    assert found.checkpoint() == expected.checkpoint()
    assert metrics == known


def kept(fraction, seed=0):
    usual = replace(USUAL, seed=seed)
    return settings_of([entry("partial_data", fraction=fraction)], usual).images.tolist()


def test_the_images_kept_are_the_seeds_own_and_a_smaller_share_is_among_a_larger_one():
    assert kept(0.5) == kept(0.5)
    assert len(set(kept(0.5))) == 50
    assert set(kept(0.2)) < set(kept(0.5))
    assert set(kept(0.5)) != set(kept(0.5, seed=1))


def test_part_of_the_data_is_the_same_images_in_every_epoch_in_another_order():
    trainer = Trainer(config(), arrays())
    part = settings_of([entry("partial_data", fraction=0.5)], trainer._usual)
    orders = [torch.cat([b for b, _ in trainer._batches(e, part)]).tolist() for e in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(part.images.tolist())


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_run_resumed_inside_or_after_a_window_equals_the_run_trained_alone(cut):
    window = [entry("weight_decay"), entry("partial_data"), entry("augmentation")]
    timeline = [[], window, window, []]
    alone, metrics = trained(timeline)
    first, before = trained(timeline[:cut])
    second = Trainer(config(), arrays())
    second.load(first.checkpoint())
    for epoch in range(cut, 4):
        before.append(second.train_epoch(epoch, timeline[epoch], 0.05, ignore))
    assert before == metrics
    assert second.checkpoint() == alone.checkpoint()
