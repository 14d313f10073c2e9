"""Per-image gradients of BatchNorm (in evaluation mode), LayerNorm and GroupNorm.

Each maps `y = weight * x_hat + bias`. Its parameters are few, so that the gradient of each image is
written out: `sum_t b_t x_hat_t` by the weight, `sum_t b_t` by the bias, over positions t, with b
the gradient by y. Shapes: x, b (N, ...) -> (N, parameters).
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import group_norm, layer_norm


def batch_norm(module: nn.Module, role: str, x: Tensor, b: Tensor) -> Tensor:
    """x_hat = (x - running mean) / sqrt(running variance + eps): constants, so no image mixes."""
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)
    b = b.reshape(*b.shape[:2], -1)
    if role == "bias":
        return b.sum(-1)
    assert module.running_mean is not None
    assert module.running_var is not None
    scale = (module.running_var + module.eps).rsqrt()
    # sum b x_hat = scale (sum b x - mean sum b): x_hat itself is never written down.
    together = (b * x.reshape(b.shape)).sum(-1)
    return scale * (together - module.running_mean * b.sum(-1))


def layer(module: nn.Module, role: str, x: Tensor, b: Tensor) -> Tensor:
    """Normalised over the last axes, those of the weight; summed over those between."""
    assert isinstance(module, nn.LayerNorm)
    shape = module.normalized_shape
    if role == "weight":
        b = b * layer_norm(x.to(b.dtype), shape, eps=module.eps)
    between = tuple(range(1, b.dim() - len(shape)))
    return (b.sum(between) if between else b).flatten(1)


def group(module: nn.Module, role: str, x: Tensor, b: Tensor) -> Tensor:
    """Normalised over groups of channels; a weight for each channel."""
    assert isinstance(module, nn.GroupNorm)
    if role == "weight":
        b = b * group_norm(x.to(b.dtype), module.num_groups, eps=module.eps)
    return b.reshape(*b.shape[:2], -1).sum(-1)


Gradient = Callable[[nn.Module, str, Tensor, Tensor], Tensor]

NORMALISATION: dict[type[nn.Module], Gradient] = {
    nn.BatchNorm1d: batch_norm,
    nn.BatchNorm2d: batch_norm,
    nn.BatchNorm3d: batch_norm,
    nn.LayerNorm: layer,
    nn.GroupNorm: group,
}
