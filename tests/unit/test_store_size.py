"""What a checkpoint takes is known without building its network."""

import json

import pytest
import torch
from networks import EVERY, named

from shared import store_size
from worker import checkpoint
from worker.models import build

SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.001}
ADAM = {"name": "adam", "learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08,
        "weight_decay": 0.001}  # fmt: skip


def dumped(model, shape, classes, optimizer):
    network = build(model, shape, classes, seed=0)
    parameters = list(network.parameters())
    made = (torch.optim.SGD(parameters, 0.1, 0.9) if optimizer is SGD
            else torch.optim.Adam(parameters, 0.1))  # fmt: skip
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    about = {"shape": shape, "classes": classes, "mean": [0.49139968] * 3, "std": [0.24703233] * 3}
    return checkpoint.dump(
        network, made, {"dataset": about, "model": model, "optimizer": optimizer}
    )


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("fields", EVERY, ids=json.dumps)
def test_every_networks_checkpoint_is_as_large_as_is_said(fields, optimizer):
    model, shape = named(**fields, width=0.1), (11, 14, 3)
    data = dumped(model, shape, 7, optimizer)
    dataset = {"shape": list(shape), "classes": 7}
    said = store_size.checkpoint({"model": model, "dataset": dataset, "optimizer": optimizer})
    header = 8 + int.from_bytes(data[:8], "little")
    names = len(json.loads(data[8:header])) - 1
    guessed = store_size.TENSOR * names + store_size.HEADER
    assert said - guessed == len(data) - header, "the tensors to the byte"
    assert guessed == pytest.approx(header, rel=0.15), "what names them roughly"
