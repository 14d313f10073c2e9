from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from shared import spec
from worker import deficits

CLASSES = 10


def context(indices=range(6), seed=0, epoch=0, split="train"):
    return deficits.Context(seed, epoch, CLASSES, torch.tensor(list(indices)), split)


def batch(count=6, channels=3, side=32):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(count, channels, side, side, generator=draw)
    return images, torch.arange(count) % CLASSES


def test_every_deficit_of_the_spec_is_implemented():
    union = get_args(spec.Deficit)[0]
    names = {get_args(part.model_fields["name"].annotation)[0] for part in get_args(union)}
    assert names == set(deficits.DEFICITS)


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


def test_only_noise_stops_augmentation():
    assert deficits.augmentable([])
    assert deficits.augmentable([{"name": "blur", "resolution": 8}, {"name": "vertical_flip"}])
    assert not deficits.augmentable([{"name": "blur", "resolution": 8}, {"name": "noise"}])


def test_deficits_act_in_the_order_of_the_list():
    images, labels = batch()
    noise, blur = {"name": "noise", "redraw": "never"}, {"name": "blur", "resolution": 4}
    blurred_noise, _ = deficits.show([noise, blur], images, labels, context())
    plain_noise, _ = deficits.show([blur, noise], images, labels, context())
    assert plain_noise.std() > 0.95
    assert blurred_noise.std() < 0.5
