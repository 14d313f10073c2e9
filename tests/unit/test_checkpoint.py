import json

import pytest
import torch
import torch.nn.functional as F
from test_train import ADAM, SGD, arrays, config, run

from shared.errors import Corrupt
from worker import checkpoint
from worker.models import build
from worker.train import Trainer

SHAPE = (8, 8, 1)


def network(width=0.05, seed=0, name="all_cnn"):
    model = build({"name": name, "width": width}, SHAPE, 4, seed)
    return model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def step(model, optimizer):
    draw = torch.Generator().manual_seed(0)
    loss = F.cross_entropy(model(torch.randn(8, 1, 8, 8, generator=draw)), torch.arange(8) % 4)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def trained(steps=2, **kind):
    model, optimizer = network(**kind)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def test_the_same_state_gives_the_same_bytes():
    meta = {"b": 1, "a": {"d": [1, 2], "c": 0.5}}
    turned = {"a": {"c": 0.5, "d": [1, 2]}, "b": 1}
    assert checkpoint.dump(*trained(), meta) == checkpoint.dump(*trained(), turned)


def test_what_is_loaded_is_what_was_dumped():
    model, optimizer = trained()
    tensors, meta = checkpoint.load(checkpoint.dump(model, optimizer, {"width": 0.05}))
    assert meta == {"width": 0.05}
    for name, value in model.state_dict().items():
        assert torch.equal(tensors[f"model/{name}"], value)
    first = next(model.parameters())
    momentum = optimizer.state[first]["momentum_buffer"]
    assert torch.equal(tensors["optimizer/0.0.weight/momentum_buffer"], momentum)


def test_metadata_is_one_key_of_json_that_any_safetensors_reader_sees():
    data = checkpoint.dump(*network(), {"a": 1})
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"hubel": '{"a":1}'}


@pytest.mark.parametrize("steps", [0, 2])
def test_a_restored_state_steps_on_like_the_original(steps):
    model, optimizer = trained(steps)
    data = checkpoint.dump(model, optimizer, {})
    other, other_optimizer = network(seed=1)
    checkpoint.restore(other, other_optimizer, data)
    step(model, optimizer)
    step(other, other_optimizer)
    assert checkpoint.dump(other, other_optimizer, {}) == checkpoint.dump(model, optimizer, {})


def test_a_checkpoint_of_another_shape_is_refused_by_name_and_shape():
    data = checkpoint.dump(*trained(width=0.05), {})
    expected = r"'0\.0\.weight' has the shape \(5, 1, 3, 3\), expected \(10, 1, 3, 3\)"
    with pytest.raises(Corrupt, match=expected):
        checkpoint.restore(*network(width=0.1), data)


def test_a_checkpoint_of_another_network_is_refused():
    with pytest.raises(Corrupt, match=r"another model: it lacks the tensor '0\.0\.weight'"):
        checkpoint.restore(*network(), checkpoint.dump(*trained(name="mlp"), {}))


def test_a_refused_checkpoint_changes_nothing():
    model, optimizer = network()
    before = checkpoint.dump(model, optimizer, {})
    with pytest.raises(Corrupt):
        checkpoint.restore(model, optimizer, checkpoint.dump(*trained(width=0.1), {}))
    assert checkpoint.dump(model, optimizer, {}) == before


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_truncated_bytes_are_refused(cut):
    data = checkpoint.dump(*trained(), {})
    with pytest.raises(Corrupt, match="not a checkpoint"):
        checkpoint.load(data[:cut])


def test_a_foreign_safetensors_file_is_refused():
    import safetensors.torch

    with pytest.raises(Corrupt, match="not a checkpoint"):
        checkpoint.load(safetensors.torch.save({"a": torch.zeros(1)}))


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_state_is_in_float32_whatever_its_steps_were_computed_in(precision, optimizer):
    trainer = Trainer(config(optimizer=optimizer) | {"precision": precision}, arrays())
    run(trainer, [0])
    tensors, _ = checkpoint.load(trainer.remember().dump())
    kinds = {value.dtype for name, value in tensors.items() if "num_batches" not in name}
    assert kinds == {torch.float32}
