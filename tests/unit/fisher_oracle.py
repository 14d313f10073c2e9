"""An oracle of the Fisher trace that shares no code with it: an autograd loop over images and
classes in float64. And small networks to try it on."""

import math

import torch
from torch import Tensor, nn

from worker import rng
from worker.fisher import measure as measure_fisher
from worker.shown import Shown

CLASSES = 4


def idle() -> None:
    pass


SIGNS = {"estimator": "signs", "norms": "sketched", "square_root": "rotated"}


def measure(
    model: nn.Module, images: Tensor, estimator: str = "exact", seed: int = 0, **options: object
) -> dict:
    asked = (SIGNS if estimator == "signs" else {"estimator": estimator}) | options
    return measure_fisher(model, Shown.of(images), asked, rng.Stream(seed, "test"), idle)


def oracle(model: nn.Module, images: Tensor) -> dict[str, list[float]]:
    """Module path -> its share of each image's trace: every image and class on its own."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    values: dict[str, list[float]] = {}
    names = layer_names(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for image in images:
        shares = dict.fromkeys((names[id(p)] for p in parameters), 0.0)
        for label in range(CLASSES):
            log_p = torch.log_softmax(model(image[None]), 1)[0, label]
            for p, g in zip(parameters, torch.autograd.grad(log_p, parameters), strict=True):
                shares[names[id(p)]] += log_p.exp().item() * g.pow(2).sum().item()
        for name, share in shares.items():
            values.setdefault(name, []).append(share)
    for module, mode in modes.items():
        module.training = mode
    return values


def layer_names(model: nn.Module) -> dict[int, str]:
    """Parameter -> its layer: a module's path, or the paths of all modules that share it."""
    paths: dict[int, list[str]] = {}
    for path, p in model.named_parameters(remove_duplicate=False):
        paths.setdefault(id(p), []).append(path.rpartition(".")[0])
    widest = sorted(paths.values(), key=len)  # of several that a module shares, the widest counts
    shared = {path: "+".join(found) for found in widest for path in found if found[1:]}
    return {p: shared.get(found[0], found[0]) for p, found in paths.items()}


def assert_agree(model: nn.Module, images: Tensor) -> None:
    expected = oracle(model, images)
    found = measure(model, images)
    assert list(expected) == [layer["name"] for layer in found["layers"]]
    per_image = torch.tensor(list(expected.values()), dtype=torch.float64)
    for values, layer in zip(per_image, found["layers"], strict=True):
        assert_mean_and_error(values, layer)
    assert_mean_and_error(per_image.sum(0), found)
    assert found["samples"] == len(images)


def assert_mean_and_error(values: Tensor, found: dict) -> None:
    mean, n = values.mean().item(), len(values)
    assert math.isclose(mean, found["trace"], rel_tol=1e-10, abs_tol=1e-300)
    if n == 1:
        assert found["standard_error"] is None
    else:
        error = (values - mean).square().sum().div(n - 1).div(n).sqrt().item()
        assert math.isclose(error, found["standard_error"], rel_tol=1e-7, abs_tol=1e-12 * mean)


def shaken(model: nn.Module, seed: int = 1) -> nn.Module:
    """Float64, with running statistics and affine maps that a trained network might have."""
    generator = torch.Generator().manual_seed(seed)
    model.double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.3, 3.0, generator=generator)
            with torch.no_grad():
                module.weight.normal_(1, 0.5, generator=generator)
                module.bias.normal_(0, 0.5, generator=generator)
    return model


def pictures(n: int, *shape: int, seed: int = 2) -> Tensor:
    return torch.randn(
        n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


class Pooled(nn.Module):
    """Global average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def conv_net(**options: object) -> nn.Module:
    convolution = nn.Conv2d(4, 6, **options)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.Tanh(), Pooled(), nn.Linear(6, CLASSES))


def tiny_all_cnn() -> nn.Module:
    layers: list[nn.Module] = []
    plan = [(3, 4, 3, 1), (4, 6, 3, 2), (6, 6, 3, 2), (6, 6, 1, 1), (6, CLASSES, 1, 1)]
    for inputs, outputs, kernel, stride in plan:
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, Pooled())


class Residual(nn.Module):
    """A pre-activation block with a projection, as in ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.norm1(x))
        y = self.conv2(torch.relu(self.norm2(self.conv1(active))))
        return y + self.shortcut(active)


def tiny_resnet() -> nn.Module:
    stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    blocks = nn.Sequential(Residual(4, 4, 1), Residual(4, 8, 2))
    return nn.Sequential(
        stem, blocks, nn.BatchNorm2d(8), nn.ReLU(), Pooled(), nn.Linear(8, CLASSES)
    )


def tiny_mlp() -> nn.Module:
    hidden = [nn.Linear(48, 9, bias=False), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 7)]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Tanh(), nn.Linear(7, CLASSES))


class Recurrent(nn.Module):
    """One layer used twice, at two resolutions, and once on a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 3)
        self.last = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x)))
        y = torch.tanh(self.norm(self.conv(y[:, :, ::2, ::2])))
        return self.last(self.head(y.flatten(2).mT).tanh().mean(1))


NETWORKS = {
    "all_cnn": tiny_all_cnn,
    "resnet": tiny_resnet,
    "mlp": tiny_mlp,
    "recurrent": Recurrent,
}
