"""Every service installs alone, with what it declares and nothing else, at the locked versions; its command runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
OWN = {"discovery": "aiodns", "collector": "pyvmomi", "renderer": "Jinja2", "applier": None}


def constraints(folder: Path) -> Path:
    """The lock as constraints: versions without hashes, since the packages themselves are not in it."""
    lines = (ROOT / "requirements" / "runtime.txt").read_text().splitlines()
    pins = [line.rstrip(" \\") for line in lines if "==" in line and not line.lstrip().startswith(("#", "--"))]
    path = folder / "constraints.txt"
    path.write_text("\n".join(pins) + "\n")
    return path


def uv(arguments: list[str | Path]) -> str:
    told = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.parametrize("service", OWN)
def test_a_service_installs_alone(service: str, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    uv(["venv", "--quiet", "--python", sys.executable, tmp_path / "venv"])
    packages = [ROOT / "libs" / "common", ROOT / "services" / service]
    uv(["pip", "install", "--quiet", "--python", python, "--constraint", constraints(tmp_path), *packages])
    listed = uv(["pip", "list", "--format=freeze", "--python", python]).lower()
    for other, library in OWN.items():
        if library:
            assert (f"{library.lower()}==" in listed) == (other == service), f"{library} in {listed}"
    command = tmp_path / "venv" / "bin" / f"vcenter-operator-{service}"
    told = subprocess.run([command, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "--dry-run" in told.stdout
    refused = subprocess.run(
        [command], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"VCENTER_OPERATOR_PARTITIONS": "0", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (refused.returncode, "VCENTER_OPERATOR_PARTITIONS" in refused.stderr) == (2, True), refused.stderr
