"""The compose file on a real container engine, with all that happens to it: a sweep under way has
to end with the same numbers and weights as an undisturbed one.

    make trial [ARGS='--file docker-compose.yml --file deploy/seaweedfs.yml']

Builds nothing: `docker compose build` first. Takes a project, volumes, secrets and a port of its
own, and removes them at the end.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from deploy import smoke  # noqa: E402

PORT, GRAFANA = 18_000, 18_001
SWEEP = smoke.SWEEP | {
    "name": "trial",
    "reuse": False,  # trained anew each time, under names of its own
    "training": {"epochs_after_deficit": 12, "batch_size": 64, "augmentation": {"shift": 2}},
    "checkpoints": {"every": 4},
}
WAIT = 600.0
SECRETS = ("ACCESS_KEY", "SECRET_KEY", "PASSWORD", "TOKEN")
DISTURB_AT = 0.25


class Stack:
    """One project of the compose file."""

    def __init__(self, name: str, env: Path, files: list[str], profiles: list[str]) -> None:
        self.name, self.env, self.tag = name, env, os.environ.get("HUBEL_TAG", "latest")
        self._base = ["docker", "compose", "--project-name", name, "--env-file", str(env)]
        self._base += [part for file in files for part in ("--file", str(ROOT / file))]
        self._base += [part for profile in profiles for part in ("--profile", profile)]
        self.service = smoke.Service(
            f"http://127.0.0.1:{PORT}", self._secrets()["HUBEL_ADMIN_TOKEN"]
        )

    def compose(self, *arguments: str) -> str:
        given = {"HUBEL_PORT": str(PORT), "HUBEL_GRAFANA_PORT": str(GRAFANA), "HUBEL_TAG": self.tag}
        return output([*self._base, *arguments], env=os.environ | given)

    def up(self, workers: int = 3) -> None:
        self.compose("up", "--detach", "--no-build", "--wait", "--scale", f"worker={workers}")

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def kill(self, *containers: str) -> None:
        """All processes at once, with no time for anything. The engine then starts it again."""
        running = [
            subprocess.Popen(["docker", "exec", one, "sh", "-c", "kill -9 -1"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for one in containers
        ]  # fmt: skip
        for one in running:
            one.wait(60)

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--no-log-prefix")

    def leaked(self) -> list[str]:
        """Names of secrets that a log, an image or a list of processes holds."""
        images = [output(["docker", "image", "inspect", self._image(s)]) for s in ("api", "worker")]
        images += [
            output(["docker", "history", "--no-trunc", self._image(s)]) for s in ("api", "worker")
        ]
        text = self.logs() + "".join(images) + self.compose("top")
        return [name for name, value in self._secrets().items() if value in text]

    def _image(self, service: str) -> str:
        return output(["docker", "inspect", "--format", "{{.Image}}", self.containers(service)[0]])

    def _secrets(self) -> dict[str, str]:
        pairs = [line.split("=", 1) for line in self.env.read_text().splitlines() if "=" in line]
        return {n: v for n, v in pairs if n[0] != "#" and n.endswith(SECRETS)}


def output(argv: list[str], **options: Any) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=900, **options)
    if done.returncode:
        raise smoke.Wrong(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.strip()


class Trial:
    def __init__(
        self, stack: Stack, files: list[str], profiles: list[str], folder: Path, before: str | None
    ) -> None:
        self.stack, self.files, self.profiles, self.folder = stack, files, profiles, folder
        self.before = before
        self.expected = ""

    def run(self) -> None:
        stack = self.stack
        stack.up()
        smoke.run(stack.service, WAIT)
        self.sweep("nothing", lambda: None)
        self.spread()
        for what, disturb in self.disturbances():
            self.sweep(what, disturb)
        self.restore()
        leaked = stack.leaked()
        if leaked:
            raise smoke.Wrong(f"in a log, an image or a list of processes: {leaked}")
        print("no secret in a log, an image or a list of processes")

    def disturbances(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        stack = self.stack

        def everything() -> list[str]:
            return [id for s in ("api", "worker", "redis", "minio") for id in stack.containers(s)]

        yield "a worker container killed", lambda: stack.kill(stack.containers("worker")[0])
        yield "all workers killed", lambda: stack.kill(*stack.containers("worker"))
        yield "Redis restarted", lambda: stack.compose("restart", "redis")
        yield "Redis killed", lambda: stack.kill(*stack.containers("redis"))
        yield "the store restarted", lambda: stack.compose("restart", "minio")
        yield "the store killed", lambda: stack.kill(*stack.containers("minio"))
        yield "the API killed", lambda: stack.kill(*stack.containers("api"))
        yield "everything stopped and started", self.restart
        yield "everything killed at once", lambda: stack.kill(*everything())
        now = stack.tag
        if self.before:
            self.change(self.before)
        yield f"an upgrade from {self.before or 'itself'}", lambda: self.change(now)

    def restart(self) -> None:
        self.stack.compose("stop")
        self.stack.compose("start")

    def change(self, tag: str) -> None:
        """To images of another tag: containers are made anew, volumes stay."""
        self.stack.compose("stop")
        self.stack.tag = tag
        self.stack.compose(
            "up", "--no-start", "--no-build", "--force-recreate", "--scale", "worker=3"
        )
        self.stack.up()

    def restore(self) -> None:
        """A backup taken in the middle of a sweep, in a new place with an empty Redis."""
        old = self.stack
        id = smoke.submit(old.service, SWEEP)
        self.until_under_way(old.service, id)
        began = time.monotonic()
        old.compose("stop")
        self._with_volume(old, "tar -C /from -cf /to/objects.tar .")
        new = Stack(f"{old.name}-restored", old.env, self.files, self.profiles)
        new.tag = old.tag
        with removed(new):
            new.compose("create", "--no-build")
            self._with_volume(new, "tar -C /from -xf /to/objects.tar")
            new.up()
            self.finish("restored from a backup into a new project", new.service, id, began)
        old.up()

    def _with_volume(self, stack: Stack, command: str) -> None:
        mounts = ["-v", f"{stack.name}_objects:/from", "-v", f"{self.folder}:/to"]
        image = f"hubel-store:{stack.tag}"
        run = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh"]
        output([*run, *mounts, image, "-c", command])

    def sweep(self, what: str, disturb: Callable[[], Any]) -> None:
        service = self.stack.service
        began = time.monotonic()
        id = smoke.submit(service, SWEEP)
        self.until_under_way(service, id)
        disturb()
        self.finish(what, service, id, began)

    def until_under_way(self, service: smoke.Service, id: str) -> None:
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            progress = service.json("GET", f"/v1/experiments/{id}")["progress"]
            if (
                progress
                and progress["epochs"]["done"] >= DISTURB_AT * progress["epochs"]["planned"]
            ):
                return
            time.sleep(0.5)
        raise smoke.Wrong(f"experiment {id} has not come to a quarter of its epochs")

    def finish(self, what: str, service: smoke.Service, id: str, began: float) -> None:
        status = smoke.wait_ended(service, id, WAIT)
        found = smoke.results_digest(service, id)
        self.expected = self.expected or found
        if found != self.expected:
            raise smoke.Wrong(f"{what}: results {found}, not {self.expected}")
        seconds, trained = time.monotonic() - began, status["progress"]["epochs"]["trained"]
        planned = status["plan"]["epochs"]["new"]
        print(
            f"{what:45} {seconds:5.0f} s  {trained} epochs for {planned}  {found[:16]}", flush=True
        )

    def spread(self) -> None:
        """Who trained the segments, by their own words."""
        found = set()
        for line in self.stack.logs().splitlines():
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if "trained epochs" in said["message"] and said["experiment"]:
                    found.add(said["worker"].split(":")[0])
        if len(found) != 3:
            raise smoke.Wrong(f"of three workers {len(found)} have trained: {found}")
        print("three workers have trained")


@contextlib.contextmanager
def removed(stack: Stack) -> Iterator[None]:
    try:
        yield
    finally:
        stack.compose("down", "--volumes", "--timeout", "5", "--remove-orphans")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.trial")
    parser.add_argument("--file", action="append", help="compose files, as for docker compose")
    parser.add_argument("--profile", action="append", default=[])
    parser.add_argument("--before", help="a tag of images from which it is upgraded in mid-sweep")
    parser.add_argument("--keep", action="store_true", help="leave the project running")
    options = parser.parse_args()
    files = options.file or ["docker-compose.yml"]
    with tempfile.TemporaryDirectory(prefix="hubel-trial-") as folder:
        env = Path(folder) / "env"
        output(["sh", str(ROOT / "deploy/env.sh"), str(env)])
        stack = Stack("hubel-trial", env, files, options.profile)
        with contextlib.nullcontext() if options.keep else removed(stack):
            try:
                Trial(stack, files, options.profile, Path(folder), options.before).run()
            except smoke.Wrong as error:
                sys.exit(f"trial: {error}")
    print("trial: all is as it should be")


if __name__ == "__main__":
    main()
