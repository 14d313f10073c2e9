"""torchvision is imported on every machine, and left alone where it needs no help.

Each import takes a process of its own: a module is imported once.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BROKEN = """
import torch
torch.ops.torchvision.nms.default
torch.ops.torchvision.qnms.default
"""
MISSING = 'raise RuntimeError("operator torchvision::nms does not exist")'
SHOW = """
from worker import torchvision_import
module = torchvision_import.torchvision_datasets()
print(module.__name__, len(torchvision_import._declared))
"""


def run(program: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, folders), str(Path(__file__).parents[2])])
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A torchvision that stands before the installed one."""
    folder = tmp_path / "torchvision"
    folder.mkdir()
    (folder / "datasets.py").write_text("")
    return folder


def test_the_installed_torchvision_is_imported_with_its_data_sets() -> None:
    program = SHOW + "print(module.CIFAR10.__name__, module.SVHN.__name__)"
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "CIFAR10 SVHN"


def test_an_import_that_works_is_left_alone(package: Path) -> None:
    (package / "__init__.py").write_text("")
    assert run(SHOW, package.parent).stdout == "torchvision.datasets 0\n"


def test_missing_operators_are_declared_and_the_import_tried_again(package: Path) -> None:
    (package / "__init__.py").write_text(
        f"import torch\nif not hasattr(torch.ops.torchvision, 'nms'):\n    {MISSING}\n{BROKEN}"
    )
    assert run(SHOW, package.parent).stdout == "torchvision.datasets 1\n"


def test_the_half_imported_modules_are_dropped(package: Path) -> None:
    (package / "__init__.py").write_text(
        "import torch\nfrom torchvision import half\n"
        f"if not hasattr(torch.ops.torchvision, 'nms'):\n    {MISSING}\n"
    )
    (package / "half.py").write_text("print('imported')")
    assert run(SHOW, package.parent).stdout.count("imported\n") == 2


def test_any_other_error_is_passed_on(package: Path) -> None:
    (package / "__init__.py").write_text("raise RuntimeError('something else')")
    done = run(SHOW, package.parent)
    assert done.returncode != 0
    assert "something else" in done.stderr
