"""What only a CUDA device can show of training: the same bits after a resume, the same draws."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from networks import EVERY as NETWORKS
from networks import named
from test_deficits import EVERY as DEFICITS
from test_deficits import entry
from test_train import BLUR, TIMELINE, arrays, config, ignore, run

from worker import graph
from worker.train import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_resumed_run_equals_the_run_trained_alone_on_cuda(network, precision):
    settings = config(precision=precision) | {"model": named(width=0.1, **network)}
    alone = Trainer(settings, arrays(), "cuda")
    metrics = run(alone, range(4))
    first, second = (Trainer(settings, arrays(), "cuda") for _ in range(2))
    before = run(first, range(2))
    first.evaluate(ignore)
    second.load(first.checkpoint())
    assert before + run(second, range(2, 4)) == metrics
    assert second.checkpoint() == alone.checkpoint()


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_a_recorded_step_gives_the_bits_of_the_step_itself(network, precision):
    settings = config(precision=precision) | {"model": named(width=0.1, **network)}
    eager = Trainer(settings, arrays(), "cuda")
    recorded = Trainer(settings, arrays(), "cuda", graph.by_cuda)
    assert run(recorded, range(4)) == run(eager, range(4))
    assert recorded.checkpoint() == eager.checkpoint()


def test_nothing_in_an_epoch_waits_for_the_device_before_its_last_step():
    trainer, steps = Trainer(config(), arrays(), "cuda"), []
    run(trainer, [0])

    def tick():
        steps.append(None)
        torch.cuda.set_sync_debug_mode("error" if 1 < len(steps) < 5 else "default")

    try:
        run(trainer, [1], tick)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(steps) == 6


def test_the_initial_state_is_that_of_the_cpu():
    cpu, cuda = (Trainer(config(), arrays(), device) for device in ("cpu", "cuda"))
    assert cpu.checkpoint() == cuda.checkpoint()


@pytest.mark.parametrize(
    "stimulus", [[], BLUR, TIMELINE[1], *([entry(fields)] for fields in DEFICITS)], ids=str
)
def test_the_same_images_are_shown_as_on_the_cpu(stimulus):
    cpu, cuda = (Trainer(config(), arrays(), device) for device in ("cpu", "cuda"))
    expected, labels = cpu.show("train", torch.arange(70), stimulus, 3)
    found, told = cuda.show("train", torch.arange(70, device="cuda"), stimulus, 3)
    assert torch.equal(told.cpu(), labels)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_an_epoch_on_cuda_is_nearly_that_on_the_cpu():
    cpu, cuda = (Trainer(config(), arrays(), device) for device in ("cpu", "cuda"))
    expected, found = run(cpu, [0])[0], run(cuda, [0])[0]
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)


def test_what_is_remembered_on_cuda_is_the_checkpoint_of_then_while_training_goes_on():
    settings = config() | {"model": named("resnet18", 0.5)}
    trainer = Trainer(settings, arrays(), "cuda")
    run(trainer, range(1))
    expected, kept = trainer.checkpoint(), trainer.remember()
    with ThreadPoolExecutor(1) as aside:
        dumped = aside.submit(kept.dump)
        run(trainer, range(1, 3))
        assert dumped.result() == expected
    assert trainer.checkpoint() != expected
