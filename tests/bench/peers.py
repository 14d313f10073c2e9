"""The peers: how BackPACK, nngeometry, torch.func and a plain loop give the trace of the Fisher.

Each is set up as its documentation has it, on an equal network with the same weights, at the batch
at which it was fastest here. `make(model, images)` prepares it, outside of the time measured, and
gives `estimate(images, seed)`: the mean over images, (n, C, H, W), of the Fisher's trace.
"""

import copy

import torch
from torch import Tensor, nn

from tests.bench.method import Estimate, Make, Method
from worker.models.all_cnn import MeanOverPixels

SMALL, LARGE = 16, 128
"""Images in one pass: convolutions are fastest on few, wide matrices on many."""


def loop(model: nn.Module, images: Tensor) -> Estimate:
    """One image after the other, one drawn label each: what public reproductions do."""
    parameters = list(model.parameters())

    def estimate(images: Tensor, seed: int) -> float:
        draws, total = torch.Generator().manual_seed(seed), 0.0
        for image in images:
            log_p = model(image[None]).log_softmax(1)
            label = torch.multinomial(log_p.detach().exp(), 1, generator=draws).item()
            gradients = torch.autograd.grad(log_p[0, label], parameters)
            total += sum(g.square().sum().item() for g in gradients)
        return total / len(images)

    return estimate


def vmap_grad(model: nn.Module, images: Tensor) -> Estimate:
    """torch.func: vmap of grad, one drawn label for each image."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def log_likelihood(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, (parameters, buffers), (image[None],))
        return logits.log_softmax(1)[0].gather(0, label[None])[0]

    per_image = torch.func.vmap(torch.func.grad(log_likelihood), in_dims=(None, 0, 0))

    def estimate(images: Tensor, seed: int) -> float:
        draws, total = torch.Generator().manual_seed(seed), 0.0
        for part in images.split(SMALL):  # it holds every image's gradient
            with torch.no_grad():
                p = model(part).softmax(1)
            labels = torch.multinomial(p, 1, generator=draws)[:, 0]
            gradients = per_image(parameters, part, labels)
            total += sum(g.square().sum().item() for g in gradients.values())
        return total / len(images)

    return estimate


def backpack_norms(model: nn.Module, images: Tensor) -> Estimate:
    """BackPACK's BatchL2Grad, one drawn label for each image."""
    from backpack import backpack, extend, extensions

    network, loss = _extended(model, images[:4]), extend(nn.CrossEntropyLoss(reduction="sum"))

    def estimate(images: Tensor, seed: int) -> float:
        draws, total = torch.Generator().manual_seed(seed), 0.0
        for part in images.split(_batch(model)):
            logits = network(part)
            labels = torch.multinomial(logits.detach().softmax(1), 1, generator=draws)[:, 0]
            network.zero_grad()
            with backpack(extensions.BatchL2Grad()):
                loss(logits, labels).backward()
            total += sum(p.batch_l2.sum().item() for p in network.parameters())
        return total / len(images)

    return estimate


def backpack_diagonal(name: str) -> Make:
    """BackPACK's diagonal of the Gauss-Newton matrix, which is the Fisher here: its sum."""

    def make(model: nn.Module, images: Tensor) -> Estimate:
        from backpack import backpack, extend, extensions

        network, loss = _extended(model, images[:4]), extend(nn.CrossEntropyLoss(reduction="sum"))
        extension, field = {
            "exact": (extensions.DiagGGNExact, "diag_ggn_exact"),
            "drawn": (extensions.DiagGGNMC, "diag_ggn_mc"),
        }[name]

        def estimate(images: Tensor, seed: int) -> float:
            total = 0.0
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                for part in images.split(_batch(model)):
                    network.zero_grad()
                    any_labels = torch.zeros(len(part), dtype=torch.int64)
                    with backpack(extension()):
                        loss(network(part), any_labels).backward()
                    total += sum(getattr(p, field).sum().item() for p in network.parameters())
            return total / len(images)

        return estimate

    return make


def nngeometry(name: str) -> Make:
    """nngeometry's FIM (exact, by a Cholesky factor) or FIM_MonteCarlo (one drawn label)."""

    def make(model: nn.Module, images: Tensor) -> Estimate:
        from nngeometry.metrics import FIM, FIM_MonteCarlo
        from nngeometry.object import PMatDiag
        from torch.utils.data import DataLoader, TensorDataset

        network = copy.deepcopy(model).eval()
        size = _batch(model)
        matrix = {"exact": FIM, "drawn": FIM_MonteCarlo}[name]

        def estimate(images: Tensor, seed: int) -> float:
            loader = DataLoader(TensorDataset(images, torch.zeros(len(images))), size)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return matrix(network, loader, PMatDiag).trace().item()

        return estimate

    return make


def _extended(model: nn.Module, images: Tensor) -> nn.Module:
    """An equal network that BackPACK knows all modules of, checked to give equal logits."""
    from backpack import extend

    network = _known(copy.deepcopy(model)).eval()
    chain = all(isinstance(m, nn.Sequential) or not list(m.children()) for m in network.modules())
    if chain:
        network = extend(nn.Sequential(*_leaves(network)).eval())
    else:
        network = extend(network, use_converter=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images), model(images), rtol=1e-5, atol=1e-5)
    if sum(p.numel() for p in network.parameters()) != sum(p.numel() for p in model.parameters()):
        raise ValueError("the equal network has another number of parameters")
    return network


def _batch(model: nn.Module) -> int:
    return SMALL if any(isinstance(m, nn.Conv2d) for m in model.modules()) else LARGE


def _known(module: nn.Module) -> nn.Module:
    """With torch's own pooling in place of our mean over pixels."""
    for name, child in module.named_children():
        if isinstance(child, MeanOverPixels):
            setattr(module, name, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        else:
            _known(child)
    return module


def _leaves(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if not list(m.children())]


PEERS = [
    Method("Python loop over images", "label", True, loop, 16),
    Method("torch.func vmap(grad)", "label", True, vmap_grad),
    Method("BackPACK BatchL2Grad", "label", True, backpack_norms),
    Method("BackPACK DiagGGNMC", "label", True, backpack_diagonal("drawn")),
    Method("BackPACK DiagGGNExact", "nothing", True, backpack_diagonal("exact"), 16),
    Method("nngeometry, Monte Carlo", "label", True, nngeometry("drawn")),
    Method("nngeometry, exact", "nothing", True, nngeometry("exact"), 16),
]
