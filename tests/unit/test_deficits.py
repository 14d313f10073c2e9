import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from scipy import stats

from shared import spec
from worker import deficits
from worker.regularisers import REGULARISERS

ROOT = Path(__file__).parents[2]
CLASSES, COUNT = 10, 2000
LABELS = torch.randint(0, CLASSES, (COUNT,), generator=torch.Generator().manual_seed(2))
MEAN, STD = (
    torch.tensor(values).view(3, 1, 1) for values in ([0.49, 0.48, 0.45], [0.2, 0.21, 0.22])
)
EVERY = [
    *({"name": name} for name in deficits.DEFICITS),
    {"name": "label_permutation", "of": "images"},
    {"name": "noise", "redraw": "never", "distribution": "uniform"},
    {"name": "occlusion", "size": 5, "position": "random"},
    {"name": "oriented_filter", "passes": "horizontal", "bandwidth": 20},
]


def context(indices=range(6), seed=0, epoch=0, split="train"):
    places = torch.tensor(list(indices))
    return deficits.Context(seed, epoch, CLASSES, places, LABELS, MEAN, STD, split)


def window(fields):
    return TypeAdapter(spec.Deficit).validate_python({**fields, "end": 1})


def entry(fields):
    """As a stimulus has it: new fields left out at their default."""
    return window(fields).stimulus()


def batch(count=6, channels=3, side=32):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(count, channels, side, side, generator=draw)
    return images, torch.arange(count) % CLASSES


def test_every_deficit_of_the_spec_is_implemented():
    union = get_args(spec.Deficit)[0]
    names = {get_args(part.model_fields["name"].annotation)[0] for part in get_args(union)}
    assert names == deficits.DEFICITS.keys() | REGULARISERS.keys()
    assert not deficits.DEFICITS.keys() & REGULARISERS.keys()
    assert REGULARISERS.keys() == spec.NOT_OF_IMAGES


def sample(shape=(32, 32), indices=(3, 14, 15, 92, 65, 35)):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(len(indices), 3, *shape, generator=draw)
    return images, LABELS[list(indices)], list(indices)


@pytest.mark.parametrize("shape", [(32, 32), (33, 40)])
@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_a_deficit_changes_something_and_keeps_what_a_batch_is(fields, shape):
    images, labels, indices = sample(shape, range(60))
    before = images.clone(), labels.clone()
    shown, told = deficits.show([entry(fields)], images, labels, context(indices))
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert not (torch.equal(shown, images) and torch.equal(told, labels))
    assert (shown.shape, shown.dtype) == (images.shape, torch.float32)
    assert (told.shape, told.dtype) == (labels.shape, torch.int64)
    assert shown.isfinite().all()
    assert ((told >= 0) & (told < CLASSES)).all()


@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_a_deficit_depends_on_its_arguments_alone(fields):
    images, labels, indices = sample()
    first = deficits.show([entry(fields)], images, labels, context(indices, epoch=3))
    torch.manual_seed(5)
    torch.rand(7)
    again = deficits.show([entry(fields)], images, labels, context(indices, epoch=3))
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("shape", [(32, 32), (33, 40)])
@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_an_image_is_shown_the_same_whatever_else_is_in_its_batch(fields, shape):
    images, labels, indices = sample(shape)
    shown, told = deficits.show([entry(fields)], images, labels, context(indices))
    for rows in ([0], [4], [5, 1], [2, 0, 4, 1, 3]):
        part = context([indices[row] for row in rows])
        some, said = deficits.show([entry(fields)], images[rows], labels[rows], part)
        assert torch.equal(some, shown[rows])
        assert torch.equal(said, told[rows])


@pytest.mark.parametrize("fields", EVERY, ids=str)
def test_fields_that_a_key_leaves_out_are_read_with_the_specs_default(fields):
    images, labels, indices = sample()
    asked = window(fields)
    written = asked.stimulus() | {name: getattr(asked, name) for name in asked.ADDED}
    left_out = deficits.show([asked.stimulus()], images, labels, context(indices))
    assert all(
        map(torch.equal, left_out, deficits.show([written], images, labels, context(indices)))
    )
    assert deficits.augmentable([written]) == deficits.augmentable([asked.stimulus()])


def test_entries_that_change_no_images_are_passed_over():
    images, labels, indices = sample()
    stimulus = [entry({"name": name} | ({"value": 0.1} if name == "weight_decay" else {}))
                for name in REGULARISERS]  # fmt: skip
    shown, told = deficits.show(stimulus, images, labels, context(indices))
    assert torch.equal(shown, images)
    assert torch.equal(told, labels)


def test_an_unknown_deficit_is_not_passed_over():
    images, labels, indices = sample()
    with pytest.raises(KeyError):
        deficits.show([{"name": "fog"}], images, labels, context(indices))


def test_no_deficit_changes_nothing():
    images, labels = batch()
    shown, told = deficits.show([], images, labels, context())
    assert torch.equal(shown, images)
    assert torch.equal(told, labels)


@pytest.mark.parametrize("side", [32, 16, 28])
@pytest.mark.parametrize("resolution", [4, 8])
def test_blur_is_pillows_bilinear_down_and_up(side, resolution):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (side, side, 3), dtype=np.uint8)
    small = Image.fromarray(pixels).resize((resolution, resolution), Image.Resampling.BILINEAR)
    expected = np.asarray(small.resize((side, side), Image.Resampling.BILINEAR), dtype=float)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    stimulus = [{"name": "blur", "resolution": resolution}]
    shown, _ = deficits.show(stimulus, images, torch.zeros(1), context([0]))
    # Pillow rounds to whole grey levels after each of its four passes.
    assert np.abs(shown[0].permute(1, 2, 0).numpy() * 255 - expected).max() < 1.5


def test_blurring_normalised_images_is_normalising_blurred_ones():
    images, labels = batch()
    stimulus = [{"name": "blur", "resolution": 8}]
    after, _ = deficits.show(stimulus, images * 3 - 1, labels, context())
    before, _ = deficits.show(stimulus, images, labels, context())
    torch.testing.assert_close(after, before * 3 - 1)


def test_blur_no_coarser_than_the_image_changes_nothing():
    images, labels = batch(side=8)
    shown, _ = deficits.show([{"name": "blur", "resolution": 16}], images, labels, context())
    torch.testing.assert_close(shown, images)


def test_vertical_flip_turns_images_upside_down():
    images, labels = batch()
    shown, told = deficits.show([{"name": "vertical_flip"}], images, labels, context())
    assert torch.equal(shown[:, :, 0], images[:, :, -1])
    assert torch.equal(told, labels)


def test_labels_are_permuted_by_one_permutation_for_each_seed_never_the_identity():
    images, labels = batch(CLASSES)
    stimulus = [{"name": "label_permutation"}]
    drawn = set()
    for seed in range(20):
        _, first = deficits.show(stimulus, images, labels, context(seed=seed, epoch=0))
        _, later = deficits.show(stimulus, images, labels, context(seed=seed, epoch=9))
        assert torch.equal(first, later)
        assert sorted(first.tolist()) == list(range(CLASSES))
        drawn.add(tuple(first.tolist()))
    assert tuple(range(CLASSES)) not in drawn
    assert len(drawn) == 20


def test_two_classes_are_always_swapped():
    assert all(deficits.permutation(seed, 2).tolist() == [1, 0] for seed in range(20))


@pytest.mark.parametrize("redraw", ["every_epoch", "never"])
def test_noise_belongs_to_the_image_not_to_the_order_of_the_batch(redraw):
    images, labels = batch()
    stimulus = [{"name": "noise", "redraw": redraw}]
    shown, told = deficits.show(stimulus, images, labels, context([5, 1, 3, 0, 2, 4]))
    again, _ = deficits.show(stimulus, images[:2], labels[:2], context([0, 3]))
    assert torch.equal(again, shown[[3, 2]])
    assert torch.equal(told, labels)
    assert shown.shape == images.shape


def test_noise_is_drawn_anew_each_epoch_or_never():
    images, labels = batch()

    def at(epoch, redraw, split="train"):
        stimulus = [{"name": "noise", "redraw": redraw}]
        return deficits.show(stimulus, images, labels, context(epoch=epoch, split=split))[0]

    assert not torch.equal(at(0, "every_epoch"), at(1, "every_epoch"))
    assert torch.equal(at(0, "never"), at(1, "never"))
    assert not torch.equal(at(0, "never"), at(0, "never", split="test"))


def test_uniform_noise_is_even_between_black_and_white():
    images, labels, indices = sample(indices=range(40))
    shown, _ = deficits.show(
        [entry({"name": "noise", "distribution": "uniform"})], images, labels, context(indices)
    )
    for channel in range(3):
        pixels = (shown[:, channel] * STD[channel] + MEAN[channel]).flatten().double().numpy()
        assert stats.kstest(pixels, "uniform").pvalue > 1e-3


def test_contrast_pulls_every_image_towards_its_mean():
    images, labels = batch()
    mean = images.numpy().mean((2, 3), keepdims=True)
    expected = mean + 0.25 * (images.numpy() - mean)
    stimulus = [{"name": "contrast", "factor": 0.25}]
    shown, _ = deficits.show(stimulus, images, labels, context())
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_greyscale_is_pillows_luma_in_every_channel():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L"), dtype=float)
    images = (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255 - MEAN) / STD
    shown, _ = deficits.show([entry({"name": "greyscale"})], images, LABELS[:1], context([0]))
    for channel in (shown * STD + MEAN)[0].numpy() * 255:
        # Pillow rounds to whole grey levels.
        assert np.abs(channel - expected).max() <= 0.51


@pytest.mark.parametrize(("side", "size", "start"), [(32, 16, 8), (33, 16, 8), (32, 5, 13)])
def test_a_central_square_is_covered_with_the_mean_colour(side, size, start):
    images, labels = batch(side=side)
    expected = images.numpy().copy()
    expected[:, :, start : start + size, start : start + size] = 0
    shown, _ = deficits.show(
        [entry({"name": "occlusion", "size": size})], images, labels, context()
    )
    assert np.array_equal(shown, expected)


def corners(epoch=0, count=COUNT, shape=(6, 7)):
    """Of each image the place of the hole, which is checked to be a square of 4 pixels a side."""
    images = torch.ones(count, 3, *shape)
    stimulus = [entry({"name": "occlusion", "size": 4, "position": "random"})]
    shown, _ = deficits.show(stimulus, images, LABELS[:count], context(range(count), epoch=epoch))
    found = []
    for hole in shown.numpy() == 0:
        rows, columns = np.nonzero(hole[0])
        top, left = int(rows.min()), int(columns.min())
        assert hole.sum() == 3 * 16
        assert hole[:, top : top + 4, left : left + 4].all()
        found.append((top, left))
    return found


def test_a_random_square_lies_anywhere_inside_the_image_alike_and_anew_each_epoch():
    found = corners()
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 3 * 4
    assert stats.chisquare(counts).pvalue > 1e-3
    same = np.mean([one == other for one, other in zip(found, corners(epoch=1), strict=True)])
    assert same == pytest.approx(1 / 12, abs=0.03)


def grating(degrees, side=32, cycles=4):
    """Brightness changes along `degrees` from the horizontal axis: 0 has upright stripes."""
    y, x = np.mgrid[:side, :side] / side
    across, down = (
        round(cycles * np.cos(np.radians(degrees))),
        round(cycles * np.sin(np.radians(degrees))),
    )
    return torch.tensor(np.sin(2 * np.pi * (across * x + down * y) + 0.3)).float()


def filtered(image, **fields):
    images = image.expand(1, 3, *image.shape)
    stimulus = [entry({"name": "oriented_filter", **fields})]
    return deficits.show(stimulus, images, LABELS[:1], context([0]))[0][0, 0]


@pytest.mark.parametrize(("passes", "degrees"), [("vertical", 0), ("horizontal", 90)])
def test_stripes_of_the_reared_orientation_pass_and_others_vanish(passes, degrees):
    shown = grating(degrees)
    torch.testing.assert_close(filtered(shown, passes=passes), shown, rtol=0, atol=1e-6)
    for other in (90 - degrees, 45, 135):
        assert filtered(grating(other), passes=passes).abs().max() < 1e-6


def test_stripes_pass_within_half_the_bandwidth_on_either_side():
    for degrees in (45, 135):
        shown = grating(degrees)
        torch.testing.assert_close(filtered(shown, bandwidth=90), shown, rtol=0, atol=1e-6)
        assert filtered(shown, bandwidth=89).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(32, 32), (15, 15), (12, 17)])
@pytest.mark.parametrize("passes", ["vertical", "horizontal"])
@pytest.mark.parametrize("bandwidth", [10, 45, 90])
def test_the_filter_is_the_wedge_of_the_whole_fourier_plane(shape, passes, bandwidth):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    plane = np.fft.fft2(image.double().numpy())
    for i, down in enumerate(np.fft.fftfreq(shape[0])):
        for j, across in enumerate(np.fft.fftfreq(shape[1])):
            axis, other = (across, down) if passes == "vertical" else (down, across)
            outside = abs(other) > abs(axis) * np.tan(np.radians(bandwidth / 2)) * (1 + 1e-12)
            if outside and (i, j) != (0, 0):
                plane[i, j] = 0
    expected = np.fft.ifft2(plane)
    assert np.abs(expected.imag).max() < 1e-12
    shown = filtered(image, passes=passes, bandwidth=bandwidth)
    np.testing.assert_allclose(shown, expected.real, atol=1e-6)
    assert shown.mean().item() == pytest.approx(image.mean().item(), abs=1e-6)


def told(fields, indices=range(COUNT), **where):
    indices = list(indices)
    images = torch.zeros(len(indices), 3, 1, 1)
    return deficits.show([entry(fields)], images, LABELS[indices], context(indices, **where))[1]


def test_labels_dealt_out_among_the_images_are_the_same_labels_and_say_nothing():
    dealt = told({"name": "label_permutation", "of": "images"})
    assert torch.equal(dealt.bincount(), LABELS.bincount())
    assert (dealt == LABELS).float().mean().item() == pytest.approx(1 / CLASSES, abs=0.03)
    assert torch.equal(dealt, told({"name": "label_permutation", "of": "images"}, epoch=7))
    assert not torch.equal(dealt, told({"name": "label_permutation", "of": "images"}, seed=1))
    table = np.zeros((CLASSES, CLASSES))
    np.add.at(table, (LABELS.numpy(), dealt.numpy()), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("fraction", [0.001, 0.3, 1.0])
def test_a_share_of_the_images_has_a_wrong_label_in_every_epoch(fraction):
    noisy = told({"name": "label_noise", "fraction": fraction})
    wrong = noisy != LABELS
    assert wrong.sum() == round(fraction * COUNT)
    assert torch.equal(noisy, told({"name": "label_noise", "fraction": fraction}, epoch=7))
    every = told({"name": "label_noise", "fraction": 1.0})
    assert torch.equal(noisy[wrong], every[wrong])


def test_wrong_labels_are_even_over_the_wrong_ones():
    away = (told({"name": "label_noise", "fraction": 1.0}) - LABELS) % CLASSES
    counts = away.bincount(minlength=CLASSES).numpy()
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


def test_which_images_have_a_wrong_label_is_another_draw_for_each_seed():
    wrong = [told({"name": "label_noise"}, seed=seed) != LABELS for seed in (0, 1)]
    assert (wrong[0] & wrong[1]).sum() == pytest.approx(COUNT / 4, abs=80)


def test_labels_are_noisy_under_other_names_too():
    stimulus = [{"name": "label_permutation"}, {"name": "label_noise", "fraction": 1.0}]
    images, labels, indices = sample(indices=range(200))
    _, permuted = deficits.show(stimulus[:1], images, labels, context(indices))
    _, both = deficits.show(stimulus, images, labels, context(indices))
    assert not (both == permuted).any()


def test_only_noise_stops_augmentation():
    assert deficits.augmentable([])
    assert deficits.augmentable([{"name": "blur", "resolution": 8}, {"name": "vertical_flip"}])
    assert not deficits.augmentable([{"name": "blur", "resolution": 8}, {"name": "noise"}])
    assert deficits.augmentable([{"name": "noise", "augmented": True}])


def test_deficits_act_in_the_order_of_the_list():
    images, labels = batch()
    noise, blur = {"name": "noise", "redraw": "never"}, {"name": "blur", "resolution": 4}
    blurred_noise, _ = deficits.show([noise, blur], images, labels, context())
    plain_noise, _ = deficits.show([blur, noise], images, labels, context())
    assert plain_noise.std() > 0.95
    assert blurred_noise.std() < 0.5


def test_the_lines_that_contributing_shows_are_those_of_the_source_files():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.split("## To add a deficit")[1].split("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    places = ["shared/spec.py", "worker/deficits.py", "worker/deficits.py", __file__]
    assert [place in section for place in places[:2]] == [True, True]
    for block, place in zip(blocks, places, strict=True):
        assert block in (ROOT / place).read_text()
    assert sum(len(block.splitlines()) for block in blocks) < 20
