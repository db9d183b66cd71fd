"""Build a server from its Go module; every dependency is pinned by the ``go.mod`` and ``go.sum`` beside the package."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.stack import cache, progress
from tests.stack.errors import ServerUnavailable, StackError

MODULES = Path(__file__).with_name("go")


def required_version(module: str, path: str) -> str:
    """The version of a required module in ``go/<module>/go.mod`` (``v1.2.3``)."""
    text = (MODULES / module / "go.mod").read_text()
    found = re.search(rf"^(?:require)?\s*{re.escape(path)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise StackError(f"go/{module}/go.mod does not require {path}")
    return found[1]


def build(
    name: str,
    module: str,
    package: str,
    version: str,
    say: progress.Say,
    *,
    definitions: Mapping[str, str] | None = None,
) -> Path:
    """The binary *name* of *package*, built within ``go/<module>`` unless the cache has it.

    *definitions* are string variables set at link time (``-X``). ServerUnavailable when it cannot be built.
    """
    folder = MODULES / module

    def compile_into(target: Path) -> None:
        flags = " ".join(["-s -w", *(f"-X {key}={value}" for key, value in (definitions or {}).items())])
        argv: list[str | Path] = [
            go_command(module),
            "build",
            "-trimpath",
            "-ldflags",
            flags,
            "-o",
            target / name,
            package,
        ]
        try:
            progress.run(f"building {name} {version}", argv, say, env={"CGO_ENABLED": "0"}, cwd=folder)
        except StackError as error:
            raise ServerUnavailable(str(error)) from error

    return cache.cached(name, f"{version}-{_digest(folder)}", compile_into, say) / name


def go_command(module: str) -> str:
    """The ``go`` command, when it is new enough for the module or can fetch a toolchain that is."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise ServerUnavailable("there is no Go toolchain (command go) to build it with")
    needed = required_go(module)
    answer = subprocess.run([go, "env", "GOVERSION"], cwd=MODULES / module, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ServerUnavailable(f"Go {needed} or newer is needed to build it: {answer.stderr.strip()}")
    return go


def required_go(module: str) -> str:
    """The version of Go that the module asks for."""
    found = re.search(r"^go (\S+)", (MODULES / module / "go.mod").read_text(), re.MULTILINE)
    return found[1] if found else "?"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in {".go", ".mod", ".sum"}:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
