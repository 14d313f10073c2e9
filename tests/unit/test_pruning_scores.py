"""Criteria of pruning against what is known exactly: loops in float64, finite removals, autograd on
explicit masks; and masks that take as many as was asked."""

import pytest
import torch
from fisher_oracle import pictures, shaken
from networks import EVERY, named
from scipy.stats import spearmanr
from torch import nn
from torch.nn.functional import cross_entropy

from worker.models import build
from worker.pruning import masks, saliency
from worker.pruning.layers import prunable
from worker.pruning.scores import CRITERIA, Scored, with_statistics
from worker.shown import Shown

NETWORKS = {"all_cnn": 0.03, "resnet18": 0.04, "mlp": 0.01}
"""And their width."""


def idle():
    pass


def asked(model, images, labels=None, granularity="weights", whose="model", epoch=1):
    high, wide, channels = images.shape[2], images.shape[3], images.shape[1]
    layers = masks.of(prunable(model, (high, wide, channels)), granularity)
    shown = Shown.of(images, labels)
    return Scored(model, layers, granularity, shown, whose, 0, epoch, idle)


def network(kind):
    model = shaken(build(named(kind, NETWORKS[kind]), (8, 8, 3), 4, 0)).double().eval()
    return model, pictures(3, 3, 8, 8).double()


def labels_of(model, images):
    return torch.arange(len(images)) % model(images).shape[1]


def by_loop(model, images, labels, weights):
    """F_ii, image by image and class by class; `labels`: of these alone."""
    found = [torch.zeros_like(weight) for weight in weights]
    for i, image in enumerate(images):
        log_p = model(image[None]).log_softmax(1)[0]
        for y in range(len(log_p)) if labels is None else [int(labels[i])]:
            share = log_p[y].exp().detach() if labels is None else 1.0
            gradients = torch.autograd.grad(log_p[y], weights, retain_graph=True)
            for total, gradient in zip(found, gradients, strict=True):
                total += share * gradient**2 / len(images)
    return found


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("whose", ["model", "true"])
def test_the_diagonal_is_that_of_a_loop_over_images_and_classes(kind, whose):
    model, images = network(kind)
    labels = labels_of(model, images)
    question = asked(model, images, labels, whose=whose)
    found = CRITERIA["fisher_alone"](question)
    weights = [layer.module.weight for layer in question.layers]
    for one, other in zip(found, by_loop(model, images, labels if whose == "true" else None,
                                         weights), strict=True):  # fmt: skip
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)
    for one, diagonal, weight in zip(CRITERIA["fisher"](question), found, weights, strict=True):
        torch.testing.assert_close(one, diagonal * weight.detach() ** 2 / 2)


def test_half_f_w_squared_is_the_rise_of_the_expected_loss_of_a_small_softmax_regression():
    """One weight removed, labels drawn from the model itself: the gradient is 0 there, and the loss
    is quadratic in a small weight, with the Fisher information for its curvature."""
    model = nn.Sequential(nn.Linear(2, 3, bias=False)).double()
    with torch.no_grad():
        model[0].weight.mul_(1e-4)
    images = torch.tensor([[1.0, -0.5], [0.3, 2.0]]).double()[:, :, None, None]
    flat = nn.Sequential(nn.Flatten(), model)
    layers = prunable(flat, (1, 1, 2))
    scored = Scored(flat, layers, "weights", Shown.of(images), "model", 0, 1, idle)
    [found] = CRITERIA["fisher"](scored)
    p = flat(images).softmax(1).detach()
    before = -(p * flat(images).log_softmax(1)).sum(1).mean()
    weight = model[0].weight
    for place in range(6):
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.view(-1)[place] = 0
        rise = -(p * flat(images).log_softmax(1)).sum(1).mean() - before
        with torch.no_grad():
            weight.copy_(kept)
        torch.testing.assert_close(rise.detach(), found.view(-1)[place], rtol=1e-3, atol=1e-15)


@pytest.mark.parametrize("kind", NETWORKS)
def test_snip_is_the_gradient_by_an_explicit_mask(kind):
    model, images = network(kind)
    labels = labels_of(model, images)
    question = asked(model, images, labels)
    names = [f"{layer.name}.weight" for layer in question.layers]
    ones = {name: torch.ones_like(model.get_parameter(name), requires_grad=True) for name in names}
    masked = {name: ones[name] * model.get_parameter(name) for name in names}
    loss = cross_entropy(torch.func.functional_call(model, masked, images), labels)
    expected = torch.autograd.grad(loss, list(ones.values()))
    for one, other in zip(CRITERIA["snip"](question), expected, strict=True):
        torch.testing.assert_close(one, other.abs(), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", NETWORKS)
def test_theis_is_half_the_squared_gradient_by_a_gate_on_each_channel_image_by_image(kind):
    model, images = network(kind)
    labels = labels_of(model, images)
    question = asked(model, images, labels, "channels")
    for layer, found in zip(question.layers, CRITERIA["theis"](question), strict=True):
        expected = torch.zeros_like(found)
        for image, label in zip(images, labels, strict=True):
            gate = torch.ones(len(found), dtype=torch.float64, requires_grad=True)

            def gated(_module, _inputs, output, gate=gate):
                return output * gate.view(1, -1, *(1 for _ in output.shape[2:]))

            hook = layer.gate.register_forward_hook(gated)
            loss = cross_entropy(model(image[None]), label[None])
            (gradient,) = torch.autograd.grad(loss, gate)
            hook.remove()
            expected += gradient**2 / (2 * len(images))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


def test_random_scores_are_even_and_those_of_their_seed_and_epoch():
    model, images = network("all_cnn")
    one, again, later = (
        torch.cat([s.flatten() for s in CRITERIA["random"](asked(model, images, epoch=e))])
        for e in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, later)
    assert abs(one.mean() - 0.5) < 0.05


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_channel_scores_the_sum_of_its_weights_and_the_network_stays_as_it_was(criterion):
    model, images = network("all_cnn")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    labels = labels_of(model, images)
    channels = CRITERIA[criterion](asked(model, images, labels, "channels"))
    if criterion not in ("theis", "random"):
        weights = CRITERIA[criterion](asked(model, images, labels))[:-1]
        for one, other in zip(channels, weights, strict=True):
            torch.testing.assert_close(one, other.flatten(1).sum(1))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())


# --- masks ---


@pytest.mark.parametrize("ranking", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.98])
def test_a_mask_takes_exactly_as_many_as_was_asked(ranking, sparsity):
    scores = [torch.rand(7, 11).double(), torch.full((40,), 0.5).double(), torch.rand(3).double()]
    nothing = [torch.zeros_like(s, dtype=torch.bool) for s in scores]
    found = masks.chosen(scores, sparsity, ranking, nothing)
    if ranking == "global":
        assert sum(int(m.sum()) for m in found) == round(sparsity * 120)
    else:
        assert [int(m.sum()) for m in found] == [round(sparsity * s.numel()) for s in scores]
    assert int(found[1].sum()) == int(found[1][: int(found[1].sum())].sum())  # equals in order


def test_what_is_gone_goes_first_and_what_is_not_a_number_last():
    scores = [torch.tensor([0.1, torch.nan, 9.0, 0.2, 0.3]).double()]
    gone = [torch.tensor([False, False, True, False, False])]
    [found] = masks.chosen(scores, 0.6, "global", gone)
    assert found.tolist() == [True, False, True, True, False]
    [found] = masks.chosen(scores, 0.8, "global", gone)
    assert found.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize("body", EVERY, ids=str)
def test_a_channel_that_is_pruned_puts_out_exactly_zero(body):
    if body.get("depth") == 1:
        return
    model = build(named(**{"width": 0.1} | body), (16, 16, 1), 8, 0)
    shaken(model)
    layers = masks.of(prunable(model, (16, 16, 1)), "channels")
    gone = [torch.arange(len(layer.module.weight)) % 2 == 0 for layer in layers]
    masks.clear(masks.parameters(layers, "channels", gone))
    outputs = {}
    for layer in layers:
        layer.gate.register_forward_hook(
            lambda module, _, output, name=layer.name: outputs.update({name: output})
        )
    images = pictures(4, 1, 16, 16)
    for training in (True, False):
        model.train(training)
        model(images)
        for layer, mask in zip(layers, gone, strict=True):
            assert not outputs[layer.name][:, mask].any()
            assert outputs[layer.name][:, ~mask].any()
    assert [bool(m.all()) for m in masks.zeros(layers, "channels")] == [False] * len(layers)


def test_in_a_pre_activation_resnet_a_norm_belongs_to_the_convolution_it_reads_alone():
    layers = prunable(build(named("resnet18", 0.1), (16, 16, 1), 8, 0), (16, 16, 1))
    owned = {layer.name: layer.norm is not None for layer in layers}
    assert owned["0.0"]
    assert owned["1.0.conv1"]
    assert not any(own for name, own in owned.items() if "conv2" in name or "shortcut" in name)
    assert [layer.name for layer in layers if layer.is_last] == [layers[-1].name]


# --- what looks at all criteria ---


def test_correlations_are_of_ranks_and_near_none_with_chance():
    model, images = network("all_cnn")
    found = saliency.measure(asked(model, images, labels_of(model, images), "channels"))
    assert found["criteria"] == list(CRITERIA)
    assert len(found["pairs"]) == 15
    assert all(-1 <= pair["correlation"] <= 1 for pair in found["pairs"])
    question = asked(model, images, labels_of(model, images))
    weights = saliency.measure(question)
    told = {(p["one"], p["other"]): p["correlation"] for p in weights["pairs"]}
    assert abs(told["magnitude", "random"]) < 4 / weights["ranked"] ** 0.5
    flat = [torch.cat([s.flatten() for s in CRITERIA[name](question)])
            for name in ("fisher", "fisher_alone")]  # fmt: skip
    expected = spearmanr(*flat).statistic
    assert told["fisher", "fisher_alone"] == pytest.approx(expected, rel=1e-12)


def test_at_initialisation_batchnorm_has_the_statistics_of_the_images_that_are_looked_at():
    model = build(named("all_cnn", 0.05), (16, 16, 1), 8, 0)
    shown = Shown.of(pictures(8, 1, 16, 16).float())
    fresh = with_statistics(model, 0, shown, 8, idle)
    assert fresh is not model
    assert not torch.equal(fresh[0][1].running_var, model[0][1].running_var)
    assert with_statistics(model, 1, shown, 8, idle) is model
