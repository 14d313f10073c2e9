"""What `make check` holds the files of a deployment to, without an engine or a cluster: Dockerfiles
by hadolint, compose files by Compose itself, manifests by kustomize and Kubernetes' schemas."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent
OVERLAYS = ("cpu", "gpu")
COMPOSE = ("docker-compose.yml", "deploy/seaweedfs.yml")


def commands(env: Path) -> Iterator[list[str]]:
    yield ["hadolint", *(str(path) for path in sorted((ROOT / "deploy").glob("*.Dockerfile")))]
    files = [part for file in COMPOSE for part in ("--file", file)]
    for chosen in (["--file", COMPOSE[0]], files):
        yield ["docker-compose", "--env-file", str(env), *chosen, "--profile", "*", "config", "-q"]
    for overlay in OVERLAYS:
        built = env.with_name(f"{overlay}.yaml")
        folder = f"deploy/kubernetes/overlays/{overlay}"
        yield ["kubectl", "kustomize", folder, "--output", str(built)]
        # Of custom resources it has no schema, and says so: test_kubernetes.py looks at those.
        yield ["kubernetes-validate", "--strict", "--quiet", str(built)]


def main() -> None:
    if sys.platform != "linux":
        print("the files of a deployment are checked on Linux alone: their tools are wheels for it")
        return
    with tempfile.TemporaryDirectory() as folder:
        env = Path(folder) / "env"
        subprocess.run(
            ["sh", "deploy/env.sh", str(env)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
        for program, *arguments in commands(env):
            done = subprocess.run([TOOLS / program, *arguments], cwd=ROOT, check=False)
            if done.returncode:
                sys.exit(f"{program} {' '.join(arguments)} ended with {done.returncode}")
    print("Dockerfiles, compose files, manifests: nothing to say")


if __name__ == "__main__":
    main()
