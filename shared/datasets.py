"""The built-in data sets: what is known of each before a worker has prepared it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BuiltIn:
    description: str
    shape: tuple[int, int, int]
    """Height, width, channels after preparation."""
    classes: int
    train: int
    test: int
    source: str
    licence: str
    mean: tuple[float, ...] | None = None
    """Of each channel, in units of 0..1, for normalisation; None: that of the training images."""
    std: tuple[float, ...] | None = None


CATALOG: dict[str, BuiltIn] = {
    "cifar10": BuiltIn(
        "32x32 colour photographs of 10 kinds of animals and vehicles",
        (32, 32, 3), 10, 50_000, 10_000,
        "A. Krizhevsky, Learning multiple layers of features from tiny images (2009), "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite the source",
        # The paper's normalisation, and everybody's. The std is a mean over images of each one's
        # own, which is why it is smaller than that of all pixels (0.247, 0.243, 0.262).
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    "cifar100": BuiltIn(
        "32x32 colour photographs of 100 kinds of things",
        (32, 32, 3), 100, 50_000, 10_000,
        "A. Krizhevsky, Learning multiple layers of features from tiny images (2009), "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "none stated; cite the source",
    ),
    "mnist": BuiltIn(
        "handwritten digits, zero-padded from 28x28 to 32x32 as in the paper",
        (32, 32, 1), 10, 60_000, 10_000,
        "Y. LeCun, C. Cortes, C. Burges, The MNIST database, http://yann.lecun.com/exdb/mnist/",
        "CC BY-SA 3.0",
    ),
    "fashion_mnist": BuiltIn(
        "articles of clothing in grey, zero-padded from 28x28 to 32x32",
        (32, 32, 1), 10, 60_000, 10_000,
        "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST (2017), arXiv 1708.07747",
        "MIT",
    ),
    "svhn": BuiltIn(
        "digits of house numbers in street photographs, cropped to 32x32",
        (32, 32, 3), 10, 73_257, 26_032,
        "Y. Netzer et al., Reading digits in natural images (2011), "
        "http://ufldl.stanford.edu/housenumbers",
        "non-commercial use only",
    ),
    "gratings": BuiltIn(
        "the demo's: noisy gratings of 4 orientations and 2 spatial frequencies, generated",
        (16, 16, 1), 8, 2_000, 1_000,
        "worker/gratings.py",
        "Apache-2.0",
    ),
    "gratings_in_phase": BuiltIn(
        "noisy gratings whose phase is fixed, so that a linear network can tell them apart,"
        " generated",
        (16, 16, 1), 8, 2_000, 1_000,
        "worker/gratings.py",
        "Apache-2.0",
    ),
}  # fmt: skip
