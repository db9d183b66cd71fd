"""Get a server from its Debian package: installed, or unpacked into the cache where we are not root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.stack import cache, progress
from tests.stack.errors import ServerUnavailable, StackError

_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


@dataclass(frozen=True)
class Installation:
    """Where a package's files are: ``root`` is ``/`` when it is installed, else the folder it was unpacked into."""

    root: Path
    version: str

    @property
    def unpacked(self) -> bool:
        """Whether it was unpacked and not installed."""
        return self.root != Path("/")

    def path(self, name: str) -> Path:
        """A file of the package, by its absolute name in it."""
        return self.root / name.lstrip("/")

    @property
    def environment(self) -> dict[str, str]:
        """What programs need to run from where they are."""
        if not self.unpacked:
            return {}
        libraries = [str(folder) for folder in sorted(self.root.glob("usr/lib/*-linux-gnu*"))]
        binaries = [str(self.root / folder) for folder in ("usr/bin", "usr/sbin", "bin")]
        return {
            "LD_LIBRARY_PATH": ":".join([*libraries, str(self.root / "usr/lib")]),
            "PATH": ":".join([*binaries, os.environ.get("PATH", "/usr/bin:/bin")]),
        }


def installation(package: str, binary: str, say: progress.Say) -> Installation:
    """The package, installed or unpacked where it is not there yet; ServerUnavailable when neither works.

    *binary* is an absolute file name of the package.
    """
    if version := _installed(package, binary):
        return Installation(Path("/"), version)
    if shutil.which("apt-get") is None:
        raise ServerUnavailable(f"{package} is not installed, and there is no apt-get to install it with")
    try:
        if os.geteuid() == 0:
            return _install(package, binary, say)
        return _unpack(package, binary, say)
    except StackError as error:
        raise ServerUnavailable(str(error)) from error


def _installed(package: str, binary: str) -> str:
    """Its version, empty when it is not installed."""
    if not Path(binary).exists():
        return ""
    query = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "of unknown version"


def _install(package: str, binary: str, say: progress.Say) -> Installation:
    lock = ["-o", "DPkg::Lock::Timeout=600"]
    progress.run("refreshing the package lists", ["apt-get", *lock, "update"], say, env=_QUIET)
    argv = ["apt-get", *lock, "install", "--yes", "--no-install-recommends", package]
    progress.run(f"installing {package}", argv, say, env=_QUIET)
    if version := _installed(package, binary):
        return Installation(Path("/"), version)
    raise ServerUnavailable(f"{package} was installed, but there is no {binary}")


def _relocate(target: Path, final: Path) -> None:
    """Tell Erlang's start scripts, which know only the folder they are installed into, where they will be."""
    for script in ("erl", "start", "start_erl"):
        file = target / "usr/lib/erlang/bin" / script
        if file.exists():
            file.write_text(file.read_text().replace("=/usr/lib/erlang", f"={final}/usr/lib/erlang"))


def _unpack(package: str, binary: str, say: progress.Say) -> Installation:
    """Download the package and what it needs, and unpack them; no package script runs."""
    with tempfile.TemporaryDirectory() as folder:
        plan = subprocess.run(
            ["apt-get", "--simulate", "install", "--no-install-recommends", package],
            capture_output=True,
            text=True,
            check=False,
        )
        wanted = re.findall(r"^Inst (\S+) .*?\((\S+)", plan.stdout, re.MULTILINE)
        version = dict(wanted).get(package)
        if plan.returncode or version is None:
            raise ServerUnavailable(f"apt-get knows no package {package}: {plan.stderr.strip()}")

        def fetch(target: Path) -> None:
            names = [name for name, _ in wanted]
            progress.run(f"downloading {package}", ["apt-get", "download", *names], say, cwd=Path(folder))
            for file in sorted(Path(folder).glob("*.deb")):
                progress.run(f"unpacking {file.name}", ["dpkg", "-x", file, target], say)
            _relocate(target, cache.entry(*key))

        key = (f"debian-{package}", version.replace("/", "_"))
        root = cache.cached(*key, fetch, say)
    result = Installation(root, version)
    if not result.path(binary).exists():
        raise ServerUnavailable(f"{package} was unpacked, but there is no {result.path(binary)}")
    return result
