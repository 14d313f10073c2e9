"""Checkpoints: model and optimiser as safetensors, the same bytes for the same state.

Names of tensors: `model/<name in state_dict>`, `optimizer/<parameter>/<slot>`, such as
`optimizer/0.0.weight/momentum_buffer`. No generator state: randomness is keyed (`worker/rng.py`).
"""

import json
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from shared.errors import Corrupt

# safetensors writes several metadata keys in random order, hence one.
_META = "hubel"


def dump(model: nn.Module, optimizer: torch.optim.Optimizer, meta: dict[str, Any]) -> bytes:
    """The state of a model (BatchNorm statistics included) and its optimiser."""
    parameters = [name for name, _ in model.named_parameters()]
    tensors = named(model.state_dict(), optimizer.state_dict(), parameters)
    return written({name: value.cpu() for name, value in tensors.items()}, meta)


def named(
    model: dict[str, Tensor], optimizer: dict[str, Any], parameters: list[str]
) -> dict[str, Tensor]:
    """The tensors of two state dicts by their names in a checkpoint."""
    tensors = {f"model/{name}": value for name, value in model.items()}
    for place, slots in optimizer["state"].items():
        for slot, value in slots.items():
            if value is not None:
                tensors[f"optimizer/{parameters[place]}/{slot}"] = value
    return {name: value.detach() for name, value in tensors.items()}


def written(tensors: dict[str, Tensor], meta: dict[str, Any]) -> bytes:
    """Tensors of the host, however they lie in memory."""
    stored = {name: value.contiguous() for name, value in tensors.items()}
    text = json.dumps(meta, sort_keys=True, separators=(",", ":"))
    return safetensors.torch.save(stored, metadata={_META: text})


def load(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, and the metadata. Raises Corrupt on what is not a checkpoint."""
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        meta = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_META])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"This is not a checkpoint of Hubel's: {error}") from error
    return tensors, meta


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, data: bytes) -> None:
    """Bring a model and a fresh optimiser to a stored state; refuse one of another network."""
    tensors, _ = load(data)
    expected = model.state_dict()
    stored = _below("model/", tensors)
    _check({name: value.shape for name, value in expected.items()}, stored)
    slots = _optimizer_slots(tensors, dict(model.named_parameters()))
    model.load_state_dict(stored)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check(expected: dict[str, torch.Size], found: dict[str, Tensor]) -> None:
    if missing := sorted(expected.keys() ^ found.keys()):
        side = "lacks" if missing[0] in expected else "has, and the model has not,"
        raise Corrupt(f"The checkpoint is of another model: it {side} the tensor '{missing[0]}'.")
    for name, shape in expected.items():
        if found[name].shape != shape:
            raise Corrupt(
                f"The checkpoint is of another model: '{name}' has the shape"
                f" {tuple(found[name].shape)}, expected {tuple(shape)}."
            )


def _optimizer_slots(
    tensors: dict[str, Tensor], parameters: dict[str, nn.Parameter]
) -> dict[int, dict[str, Tensor]]:
    """By the place of each parameter, as torch's optimisers want it: what has the parameter's shape
    in its memory format, without which a fused optimiser reads other values."""
    places = {name: place for place, name in enumerate(parameters)}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _below("optimizer/", tensors).items():
        parameter, slot = name.rsplit("/", 1)
        of = parameters.get(parameter)
        if of is None or value.shape not in (of.shape, torch.Size([])):
            raise Corrupt(f"The checkpoint is of another model: 'optimizer/{name}' does not fit.")
        like = of.detach() if value.shape == of.shape else value
        kept = torch.empty_like(like, dtype=value.dtype, device=value.device).copy_(value)
        slots.setdefault(places[parameter], {})[slot] = kept
    return slots
