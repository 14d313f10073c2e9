"""What makes training fast changes none of its bits: recorded steps, a stimulus that is made once,
precisions that leave the state alone."""

import gc
import weakref

import pytest
import torch
from test_train import ADAM, BLUR, NOISE, PLAIN_SGD, SGD, arrays, config, ignore
from torch.utils._python_dispatch import TorchDispatchMode

from worker import fixed
from worker.train import Trainer

RATE = 0.0625
"""A number that float32 has: a recorded step reads it from a tensor."""
WAITS = {"_local_scalar_dense", "nonzero", "unique2", "item", "masked_select"}
FIXED = [{"name": "noise", "redraw": "never"}]
STRIPES = [{"name": "oriented_filter", "passes": "vertical", "bandwidth": 45.0}]


def stepwise(call):
    """As a device records a step: what is recorded is carried out when it is replayed."""
    found = torch.zeros(2, dtype=torch.float64)

    def replay():
        found.copy_(call())

    return found, replay


def trained(epochs=3, record=None, stimulus=(), **kind):
    trainer = Trainer(config(**kind), arrays(), record=record)
    return trainer, [trainer.train_epoch(e, list(stimulus), RATE, ignore) for e in range(epochs)]


@pytest.mark.parametrize("optimizer", [SGD, PLAIN_SGD, ADAM], ids=["sgd", "plain", "adam"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recorded_steps_equal_steps_carried_out(optimizer, precision):
    kind = {"optimizer": optimizer, "precision": precision}
    expected, metrics = trained(**kind)
    found, told = trained(record=stepwise, **kind)
    assert told == metrics
    assert found.checkpoint() == expected.checkpoint()
    assert (found._recorded is not None) == (optimizer is not ADAM)


def test_a_trainer_whose_steps_are_recorded_is_gone_when_nobody_holds_it():
    """No collector is waited for: a device's memory is its own."""
    gc.disable()
    try:
        trainer, _ = trained(record=lambda call: (torch.zeros(2, dtype=torch.float64), ignore))
        assert trainer._recorded is not None
        held = weakref.ref(trainer)
        del trainer, _
        assert held() is None
    finally:
        gc.enable()


def test_what_a_recorded_step_depends_on_is_recorded_anew():
    decay = [{"name": "weight_decay", "value": 0.0}]
    ends = []
    for record in (None, stepwise):
        trainer = Trainer(config(), arrays(), record=record)
        trainer.train_epoch(0, [], RATE, ignore)
        trainer.train_epoch(1, decay, RATE / 2, ignore)
        kept = trainer.remember()
        trainer.train_epoch(2, [], RATE, ignore)
        trainer.load(kept.dump())
        trainer.train_epoch(2, [], RATE, ignore)
        trainer.adopt(config(optimizer=PLAIN_SGD, batch_size=20))
        trainer.train_epoch(3, [], RATE, ignore)
        trainer.load(trainer.checkpoint())
        trainer.train_epoch(4, [], RATE, ignore)
        ends.append(trainer.checkpoint())
    assert ends[0] == ends[1]


@pytest.mark.parametrize("stimulus", [BLUR, FIXED, STRIPES, [*BLUR, {"name": "label_permutation"}]])
def test_a_stimulus_that_is_made_once_shows_what_each_batch_would(stimulus, monkeypatch):
    kept, metrics = trained(stimulus=stimulus)
    assert kept._fixed._kept
    monkeypatch.setattr(fixed, "KEPT_BYTES", 0)
    alone, told = trained(stimulus=stimulus)
    assert not alone._fixed._kept
    assert told == metrics
    assert alone.checkpoint() == kept.checkpoint()


@pytest.mark.parametrize(
    "stimulus",
    [
        [],
        NOISE,
        [*BLUR, *NOISE],
        [*BLUR, {"name": "occlusion", "size": 3, "position": "random"}],
        [{"name": "vertical_flip"}],
    ],
    ids=["clean", "noise", "blurred noise", "random occlusion", "flip"],
)
def test_what_is_other_in_each_epoch_or_costs_nothing_is_not_kept(stimulus):
    trainer, _ = trained(epochs=1, stimulus=stimulus)
    assert not trainer._fixed._kept


def test_a_window_that_ends_gives_its_images_back():
    trainer, _ = trained(epochs=1, stimulus=BLUR)
    trainer.train_epoch(1, [], RATE, ignore)
    assert not trainer._fixed._kept


def test_bfloat16_is_another_training_of_float32_states():
    one, metrics = trained()
    other, told = trained(precision="bfloat16")
    assert one.checkpoint() != other.checkpoint()
    states = [*other.model.state_dict().values(), *other.model.parameters()]
    slots = [v for s in other.optimizer.state_dict()["state"].values() for v in s.values()]
    assert {v.dtype for v in (*states, *slots)} <= {torch.float32, torch.int64}
    assert told[0]["train_loss"] == pytest.approx(metrics[0]["train_loss"], rel=0.05)


def test_a_processor_trains_tf32_as_float32_and_leaves_no_flag_behind():
    one, metrics = trained()
    other, told = trained(precision="tf32")
    assert told == metrics
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
    assert one.checkpoint() == other.checkpoint()


class Waits(TorchDispatchMode):
    """Which operators made the host wait for a device, with the number of steps begun by then."""

    def __init__(self):
        super().__init__()
        self.steps, self.found = 0, []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator.overloadpacket.__name__ in WAITS:
            self.found.append((self.steps, operator.overloadpacket.__name__))
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("stimulus", [[], BLUR, NOISE, [{"name": "label_noise", "fraction": 0.2}]])
def test_nothing_waits_for_the_device_between_the_steps_of_an_epoch(stimulus):
    trainer, _ = trained(epochs=1, stimulus=stimulus)
    with Waits() as waits:

        def tick():
            waits.steps += 1

        trainer.train_epoch(1, list(stimulus), RATE, tick)
    steps, evaluation = 5, 1
    assert waits.steps == steps + evaluation
    assert waits.found, "the sums at the end are waited for, so that this test can fail"
    assert {at for at, _ in waits.found} <= {steps, steps + evaluation}
