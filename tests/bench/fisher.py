"""What a Fisher trace costs: our estimators and the peers, interleaved, in one run.

    python -m tests.bench.fisher --data cifar10.npz          (make bench-fisher DATA=cifar10.npz)

One torch thread; CPU seconds (time.process_time) and wall seconds. What is measured goes to a JSON
file as it comes, a network and moment at a time, and from there to a Markdown file (table.py).
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.bench import machine, memory, ours, peers, states, table
from tests.bench.method import Estimate, Method
from tests.bench.states import State
from tests.bench.truth import Truth, truth

STEP = 128  # images of an ordinary training step
PEAK = 48
"""Images in the call whose memory is measured: at least two passes of each method."""
WARM_UP = 4
MORE = 8
"""Times as many images in a repetition without convolutions, which are slow."""
HERE = Path(__file__).parent


def main() -> None:
    asked = _arguments()
    torch.set_num_threads(1)
    arrays = states.load(asked.data)
    for network in asked.networks:
        name, _, width = network.partition(":")
        for moment in asked.moments:
            state = states.state(arrays, name, float(width or 1), moment)
            _keep(asked.out, _measure(state, asked) | {"data": _data(asked)})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=_path)
    parser.add_argument("--networks", type=str.split, default=["all_cnn", "resnet18", "mlp"])
    parser.add_argument("--moments", type=str.split, default=list(states.MOMENTS))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--truth", type=int, default=128, help="images measured exactly")
    parser.add_argument("--out", type=Path, default=HERE / "FISHER.md")
    return parser.parse_args()


def _path(text: str) -> Path | None:
    """An empty DATA of make is no data."""
    return Path(text) if text else None


def _data(asked: argparse.Namespace) -> str:
    return asked.data.name if asked.data else "generated gratings"


def _measure(state: State, asked: argparse.Namespace) -> dict[str, Any]:
    _say(f"# {state.name}: mean largest probability {state.confidence:.3f}")
    known = truth(state, min(asked.truth, len(state.images)))
    images = state.images[: len(known.p)]
    # Peers are not held to deterministic kernels; ours are measured as the product runs them.
    torch.use_deterministic_algorithms(False)
    step, methods = Step(state), ours.OURS + peers.PEERS
    runs = [Run(method, state.model, images) for method in methods]
    if state.moment == "init":  # weights do not change it
        for one in (step, *runs):
            one.peak = memory.peak(one.once)
    for repetition in range(asked.repetitions):
        step.once()
        for run in runs:
            run.repeat(repetition, images, known)
            _say(run.said())
    return {
        "network": state.network,
        "width": state.width,
        "moment": state.moment,
        "confidence": state.confidence,
        "truth_images": len(known.p),
        "trace": known.traces.mean().item(),
        "step": step.result(),
        "methods": [run.result(known) for run in runs],
        **machine.about(),
    }


class Clock:
    """Seconds per 1,000 images, one number for each call."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def time(self, images: int, call: Callable[[], Any]) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        found = call()
        self.cpu.append((time.process_time() - cpu) * 1000 / images)
        self.wall.append((time.perf_counter() - wall) * 1000 / images)
        return found


class Step:
    """An ordinary training step without its optimiser: forward and backward of 128 images."""

    def __init__(self, state: State) -> None:
        self.model = copy.deepcopy(state.model).train()
        self.images, self.labels = state.images[:STEP], state.labels[:STEP]
        self.clock = Clock()
        self.peak: float | None = None

    def once(self) -> None:
        self.model.zero_grad()
        self.clock.time(len(self.images), self._pass)

    def _pass(self) -> None:
        F.cross_entropy(self.model(self.images), self.labels).backward()

    def result(self) -> dict[str, Any]:
        return {"cpu": self.clock.cpu, "wall": self.clock.wall, "peak": self.peak, "images": STEP}


class Run:
    """A method on a network, over its repetitions; an error ends it and is its result."""

    def __init__(self, method: Method, model: nn.Module, images: Tensor) -> None:
        self.method, self.clock = method, Clock()
        convolutional = any(isinstance(m, nn.Conv2d) for m in model.modules())
        self.count = min(method.images * (1 if convolutional else MORE), len(images))
        self.error: str | None = None
        self.peak: float | None = None
        self.ratios: list[float] = []
        self.given_labels: list[float] = []
        self.within: list[float] = []
        self.estimate: Estimate = partial(_absent, method.name)
        with self._failing(), self._mode():
            self.estimate = method.make(model, images)
            self.images = images[: max(PEAK, min(self.count, 128))]
            self.estimate(images[:WARM_UP], 0)

    def once(self) -> None:
        with self._mode():
            self.estimate(self.images, 0)

    def repeat(self, repetition: int, images: Tensor, known: Truth) -> None:
        if self.error:
            return
        count = self.count
        rows = (torch.arange(count) + repetition * count) % len(images)
        shown, here = images[rows], known.at(rows)
        with self._failing(), self._mode(), ours.listening() as heard, _drawn() as labels:
            found = self.clock.time(count, lambda: self.estimate(shown, 1 + repetition))
            exact = here.traces.mean().item()
            self.ratios.append(found / exact)
            if labels and sum(map(len, labels)) == count:
                drawn = here.norms.gather(1, torch.cat(labels)[:, None]).mean().item()
                self.given_labels.append(found / drawn)
            if heard:
                self.within.append(_within(heard[0].sum(1), here, known))

    def result(self, known: Truth) -> dict[str, Any]:
        method = self.method
        return {
            "name": method.name,
            "whose": "ours" if method in ours.OURS else "peer",
            "draws": method.draws,
            "layers": method.layers,
            "images": self.count,
            "cpu": self.clock.cpu,
            "wall": self.clock.wall,
            "ratios": self.ratios,
            "given_labels": self.given_labels,
            "within": self._within(known),
            "between": known.between,
            "cv2_error": _bootstrap(known, method.draws),
            "peak": self.peak,
            "error": self.error,
        }

    def said(self) -> str:
        if self.error:
            return f"{self.method.name}: {self.error}"
        return (
            f"{self.method.name}: {self.clock.cpu[-1]:.2f} CPU s per 1,000 "
            f"(wall {self.clock.wall[-1]:.2f}), estimate / exact {self.ratios[-1]:.5f}"
        )

    def _within(self, known: Truth) -> float:
        """What the draws add to the squared coefficient of variation: for labels from all classes
        of all images, for ours from the values themselves."""
        if self.method.draws == "label":
            return known.within_label
        if self.method.draws == "signs" and self.within:
            return sum(self.within) / len(self.within)
        return 0.0

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a peer that cannot is a row that says so
            self.error = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"[:200]

    @contextmanager
    def _mode(self) -> Iterator[None]:
        torch.use_deterministic_algorithms(self.method in ours.OURS)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)


def _absent(name: str, images: Tensor, seed: int) -> float:
    raise RuntimeError(f"{name} was not made")


@contextmanager
def _drawn() -> Iterator[list[Tensor]]:
    """The labels that a peer draws: each one draws them by torch.multinomial."""
    draw, seen = torch.multinomial, []

    def listen(*arguments: Any, **options: Any) -> Tensor:
        found = draw(*arguments, **options)
        seen.append(found.detach().flatten())
        return found

    torch.multinomial = listen
    try:
        yield seen
    finally:
        torch.multinomial = draw


def _within(values: Tensor, here: Truth, known: Truth) -> float:
    return ((values - here.traces).square().mean() / known.traces.mean() ** 2).item()


def _bootstrap(known: Truth, draws: str, times: int = 400) -> float:
    """Standard error of the squared coefficient of variation over the choice of images; for signs
    of its part between images."""
    found = []
    for seed in range(times):
        rows = torch.randint(len(known.p), (len(known.p),), generator=_generator(seed))
        some = known.at(rows)
        found.append(some.between + (some.within_label if draws == "label" else 0.0))
    return torch.tensor(found).std().item()


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _keep(out: Path, found: dict[str, Any]) -> None:
    """Beside what other networks and moments gave, in place of what the same one gave before."""
    path = out.with_suffix(".json")
    everything = json.loads(path.read_text()) if path.exists() else []
    names = ("network", "width", "moment", "data")
    kept = [old for old in everything if any(old[n] != found[n] for n in names)]
    path.write_text(json.dumps([*kept, found], indent=1) + "\n")
    out.write_text(table.page([*kept, found]))
    _say(table.section(found))


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
