"""What a process may carry: torch lives in the worker's child only."""

import subprocess
import sys

import pytest

TENSORS = {"torch", "torchvision", "safetensors"}


def modules_after(statement: str) -> set[str]:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import api.main; from shared.settings import Settings; api.main.create_app(Settings())",
        "import worker.main",
        "import deploy.local",
    ],
)
def test_no_parent_process_imports_torch(statement: str) -> None:
    assert modules_after(statement) & TENSORS == set()


@pytest.mark.parametrize("statement", ["import api.cli", "import hubel"])
def test_a_client_needs_the_base_install_only(statement: str) -> None:
    found = modules_after(statement)
    heavy = {"pydantic", "fastapi", "celery", "minio", "numpy", "redis", "shared"}
    assert found & (heavy | {"pandas", "altair"}) == set()


def test_the_parts_of_a_spec_need_pydantic_and_nothing_else() -> None:
    found = modules_after("from hubel import ExperimentSpec")
    assert "pydantic" in found
    assert found & {"fastapi", "celery", "minio", "numpy", "redis", "torch", "pandas"} == set()


def test_what_draws_and_exports_is_imported_when_something_is_drawn_or_exported() -> None:
    heavy = {"altair", "vl_convert", "scipy", "pandas", "pyarrow"}
    assert modules_after("import api.main") & heavy == set()
