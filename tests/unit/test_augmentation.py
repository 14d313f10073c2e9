import torch

from worker import augmentation

SETTINGS = {"shift": 2, "horizontal_flip": True}


def slowly(image, row, column, flip, shift):
    height, width = image.shape[1:]
    source = image.flip(2) if flip else image
    moved = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y - row < height and 0 <= x - column < width:
                moved[:, y, x] = source[:, y - row, x - column]
    return moved


def test_a_batch_is_moved_as_image_by_image():
    images = torch.randn(40, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    moves = augmentation.draw(SETTINGS, seed=0, epoch=0, count=40)
    expected = [slowly(image, *move, 2) for image, *move in zip(images, *moves, strict=True)]
    assert torch.equal(augmentation.augment(images, moves, 2), torch.stack(expected))


def test_all_shifts_and_both_sides_come_up_alike():
    rows, columns, flips = augmentation.draw(SETTINGS, seed=0, epoch=0, count=50_000)
    for shifts in (rows, columns):
        assert torch.bincount(shifts + 2, minlength=5).div(50_000).sub(0.2).abs().max() < 0.01
    assert abs(flips.float().mean() - 0.5) < 0.01
    assert abs((rows * columns).float().mean()) < 0.05


def test_moves_depend_on_seed_and_epoch():
    def rows(seed, epoch):
        return augmentation.draw(SETTINGS, seed, epoch, 100).rows.tolist()

    assert rows(0, 0) == rows(0, 0)
    assert rows(0, 0) != rows(0, 1)
    assert rows(0, 0) != rows(1, 0)


def test_switched_off_nothing_moves():
    moves = augmentation.draw({"shift": 0, "horizontal_flip": False}, 0, 0, 10)
    images = torch.randn(10, 1, 8, 8)
    assert torch.equal(augmentation.augment(images, moves, 0), images)
