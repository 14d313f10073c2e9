"""Runs stacked into one model: torch.func.stack_module_state and vmap, as torch's tutorial on model
ensembling has it; and by how much that differs from a run alone."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from tests.bench.train_loops import BATCH, OPTIMIZER, Network
from worker import precision as precisions
from worker.models import build
from worker.train import be_deterministic

STEPS = 8
"""Of an epoch, as `together.IMAGES` has it."""


def epochs(network: Network, runs: int, device: str, precision: str) -> Callable[[], None]:
    step, _ = _stack(network, runs, device, precision)
    images, labels = _batches(network, runs, device)

    def epoch() -> None:
        for _ in range(STEPS):
            step(images, labels)
        if device == "cuda":
            torch.cuda.synchronize()

    return epoch


def difference(text: str) -> str:
    """Of the weights after one step and after ten, largest of all, in units of the largest weight
    of their tensor; on the processor, in float32."""
    name, _, width = text.partition(":")
    network = Network(name, float(width or 1))
    step, stack = _stack(network, 2, "cpu", "float32")
    images, labels = _batches(network, 2, "cpu")
    model = _model(network, 0)
    optimizer = _sgd(list(model.parameters()))
    told = []
    for made in range(1, 11):
        step(images, labels)
        _advance(optimizer, F.cross_entropy(model(images[0]), labels[0]))
        if made in (1, 10):
            apart = max(
                ((stack[n][0] - v).abs().max() / v.abs().max().clamp_min(1e-3)).item()
                for n, v in model.named_parameters()
            )
            told.append(f"{apart:.1g}" if apart else "the same bits")
    return f"{told[0]} of the largest weight after one step, {told[1]} after ten"


def _stack(
    network: Network, runs: int, device: str, precision: str
) -> tuple[Callable[[Tensor, Tensor], None], dict[str, Tensor]]:
    be_deterministic()
    models = [_model(network, seed).to(device) for seed in range(runs)]
    stacked, buffers = stack_module_state(models)  # type: ignore[arg-type]
    weights = {name: nn.Parameter(value.detach()) for name, value in stacked.items()}
    optimizer, on = _sgd(list(weights.values())), torch.device(device)

    def forward(weights: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        found: Tensor = functional_call(models[0], (weights, buffers), (images,))
        return found

    def step(images: Tensor, labels: Tensor) -> None:
        with precisions.rounding(precision):
            with precisions.autocast(precision, on):
                logits = vmap(forward)(weights, buffers, images).float()
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / BATCH
            _advance(optimizer, loss)

    return step, dict(weights)


def _model(network: Network, seed: int) -> nn.Module:
    return build({"name": network.name, "width": network.width}, network.shape, 10, seed).train()


def _batches(network: Network, runs: int, device: str) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    height, width, channels = network.shape
    images = torch.randn(runs, BATCH, channels, height, width, generator=draw)
    return images.to(device), torch.randint(0, 10, (runs, BATCH), generator=draw).to(device)


def _sgd(weights: list[nn.Parameter]) -> torch.optim.SGD:
    rate, momentum = OPTIMIZER["learning_rate"], OPTIMIZER["momentum"]
    decay = OPTIMIZER["weight_decay"]
    return torch.optim.SGD(weights, rate, momentum, weight_decay=decay, fused=True)


def _advance(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
