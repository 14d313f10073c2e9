"""Which layers of a network count: those that own trainable parameters, in the network's order.

Modules that share a parameter are one layer, whose gradient is the sum over all of their uses.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from shared.errors import Invalid
from worker.fisher.affine import AFFINE
from worker.fisher.normalisation import NORMALISATION


@dataclass(frozen=True)
class Part:
    """One trainable parameter, and every module that uses it."""

    parameter: nn.Parameter
    role: str
    """`weight` or `bias`"""
    modules: tuple[nn.Module, ...]


@dataclass(frozen=True)
class Layer:
    name: str
    """Path of the module; of several that share a parameter, their paths joined by +."""
    modules: tuple[nn.Module, ...]
    parts: tuple[Part, ...]

    @property
    def parameters(self) -> int:
        return sum(part.parameter.numel() for part in self.parts)


def trainable_layers(model: nn.Module) -> list[Layer]:
    """The layers whose gradients count. Frozen parameters are left out.

    Invalid, by name, for what is not supported: it is never measured wrongly without a word.
    """
    owners = {name or "model": m for name, m in model.named_modules() if list(_own(m))}
    if not owners:
        raise Invalid(
            "the network has no trainable parameters: there is no Fisher trace to measure"
        )
    for name, module in owners.items():
        _refuse_unsupported(name, module)
    return [_layer(group, owners) for group in _groups(owners)]


def _own(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    # Under every name: a parameter that a module has twice is found by the check of its role.
    named = module.named_parameters(recurse=False, remove_duplicate=False)
    return ((role, p) for role, p in named if p.requires_grad)


def _refuse_unsupported(name: str, module: nn.Module) -> None:
    kind = type(module)
    if kind not in SUPPORTED:
        known = ", ".join(sorted(supported.__name__ for supported in SUPPORTED))
        raise Invalid(f"layer '{name}' is a {kind.__name__}; supported are {known}")
    for role, _ in _own(module):
        if role not in ("weight", "bias"):
            raise Invalid(f"layer '{name}' ({kind.__name__}) has an unknown parameter '{role}'")
    if getattr(module, "running_mean", True) is None:
        raise Invalid(f"layer '{name}' keeps no running statistics: it mixes the images")


def _groups(owners: dict[str, nn.Module]) -> list[list[str]]:
    """Names of modules, those together that share a parameter, in the order of the first."""
    group_of: dict[int, list[str]] = {}
    groups: list[list[str]] = []
    for name, module in owners.items():
        shared = [group_of[id(p)] for _, p in _own(module) if id(p) in group_of]
        group = shared[0] if shared else []
        for other in shared[1:]:
            if other is not group:
                group.extend(other)
                groups.remove(other)
                group_of.update({p: group for p, g in group_of.items() if g is other})
        if not shared:
            groups.append(group)
        group.append(name)
        group_of.update({id(p): group for _, p in _own(module)})
    return groups


def _layer(names: list[str], owners: dict[str, nn.Module]) -> Layer:
    parts: dict[int, Part] = {}
    for name in names:
        for role, parameter in _own(owners[name]):
            known = parts.get(id(parameter))
            before = known.modules if known else ()
            if known and not _alike(known, role, owners[name]):
                raise Invalid(
                    f"layers {' and '.join(repr(n) for n in names)} share a parameter in two roles:"
                    " only layers of one kind, with the same use of it, may share one"
                )
            parts[id(parameter)] = Part(parameter, role, (*before, owners[name]))
    return Layer("+".join(names), tuple(owners[n] for n in names), tuple(parts.values()))


def _alike(part: Part, role: str, module: nn.Module) -> bool:
    first = part.modules[0]
    return part.role == role and (
        type(first) is type(module)
        and getattr(first, "groups", 1) == getattr(module, "groups", 1)
        and first is not module
    )


SUPPORTED = {*AFFINE, *NORMALISATION}
