"""The built wheels install into an empty environment, with the locked requirements alone; their commands work there.

Every service installs alone, as its image does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
OWN = {"discovery": "aiodns", "collector": "pyvmomi", "renderer": "Jinja2", "applier": None}
PACKAGES = [*(ROOT / "libs" / name for name in ("common", "command")), *(ROOT / "services" / name for name in OWN)]
EMPTY = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
"""Nothing of the environment of the tests."""


class Installed(NamedTuple):
    """A virtual environment."""

    folder: Path

    def run(self, command: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "bin" / command, *arguments], capture_output=True, text=True, check=False, timeout=120,
            cwd=self.folder, env={**EMPTY, "HOME": str(self.folder), **environment},
        )  # fmt: skip

    def says(self, command: str, *arguments: str, **environment: str) -> str:
        told = self.run(command, *arguments, **environment)
        assert told.returncode == 0, told.stderr
        return told.stdout


def uv(arguments: list[str | Path]) -> str:
    told = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of them, as `make wheels` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder,
         *PACKAGES],
        capture_output=True, text=True, check=False, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    assert len(list(folder.glob("*.whl"))) == len(PACKAGES)
    return folder


def install(folder: Path, wheels: Path, requirements: str, *names: str) -> Installed:
    """The packages of these names, and what is locked for them, in an environment of their own."""
    python = folder / "venv" / "bin" / "python"
    uv(["venv", "--quiet", "--python", sys.executable, folder / "venv"])
    install: list[str | Path] = ["pip", "install", "--quiet", "--python", python, "--no-deps"]
    uv([*install, "--require-hashes", "--requirement", ROOT / "requirements" / requirements])
    uv([*install, "--no-index", "--find-links", wheels, *names])
    uv(["pip", "check", "--python", python])  # nothing else is needed
    return Installed(folder / "venv")


@pytest.mark.parametrize("service", OWN)
def test_a_service_installs_alone(service: str, wheels: Path, tmp_path: Path) -> None:
    name = f"vcenter-operator-{service}"
    installed = install(tmp_path, wheels, f"{service}.txt", "vcenter-operator-common", name)
    listed = uv(["pip", "list", "--format=freeze", "--python", installed.folder / "bin" / "python"]).lower()
    for other, library in OWN.items():
        if library:
            assert (f"{library.lower()}==" in listed) == (other == service), f"{library} in {listed}"
    assert "opentelemetry" not in listed, "an extra is for one that asks for it"
    told = installed.says(name, "--help")
    for part in ("--dry-run", "--version", "VCENTER_OPERATOR_BUS", "exit codes:", "examples:"):
        assert part in told
    assert installed.says(name, "--version") == f"{name} 0.1.0\n"
    refused = installed.run(name, VCENTER_OPERATOR_PARTITIONS="0")
    assert (refused.returncode, "VCENTER_OPERATOR_PARTITIONS" in refused.stderr) == (2, True), refused.stderr


def test_the_extra_for_traces_is_all_that_traces_need(wheels: Path, tmp_path: Path) -> None:
    installed = install(tmp_path, wheels, "traces.txt", "vcenter-operator-common")
    installed.says("python", "-c", "import vcenter_operator.common.otlp")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Installed:
    """The command and all that it needs."""
    names = [f"vcenter-operator-{name}" for name in ("common", *OWN)]
    return install(tmp_path_factory.mktemp("everything"), wheels, "runtime.txt", *names, "vcenter-operator")


def test_the_command_works_from_wheels(everything: Installed) -> None:
    assert everything.says("vcenter-operator", "--version") == "vcenter-operator 0.1.0\n"
    site = ROOT / "examples" / "site"
    arguments = ("render", "--site", str(site / "site.yaml"), "--templates", str(site / "manifests"))
    assert "name: nova-compute-bb1\n" in everything.says("vcenter-operator", *arguments)
    for stage in OWN:
        assert stage in everything.says(f"vcenter-operator-{stage}", "--help")


@pytest.fixture(scope="module")
def completion(everything: Installed) -> str:
    """The script that people have their shell read."""
    return everything.says("vcenter-operator", "--show-completion", "bash")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("vcenter-operator me", {"messages"}),
        ("vcenter-operator messages re", {"replay", "resync"}),
        ("vcenter-operator diff --temp", {"--template", "--templates"}),
        ("vcenter-operator status --output ", {"table", "json", "yaml"}),
    ],
)
def test_bash_completes(everything: Installed, completion: str, typed: str, offered: set[str]) -> None:
    """In a real bash."""
    words = typed.split(" ")
    asked = (
        f"{completion}\nCOMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); COMP_CWORD={len(words) - 1};"
        f' COMP_LINE="{typed}"; _vcenter_operator_completion vcenter-operator; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    path = f"{everything.folder / 'bin'}:{EMPTY['PATH']}"
    told = subprocess.run(
        ["/bin/bash", "--norc", "-c", asked], capture_output=True, text=True, check=False, timeout=120,
        env={**EMPTY, "PATH": path},
    )  # fmt: skip
    assert set(told.stdout.split()) == offered, told.stderr


def test_completion_installs_itself(everything: Installed) -> None:
    everything.says("vcenter-operator", "--install-completion", "bash")
    assert "vcenter-operator" in (everything.folder / ".bashrc").read_text()
