"""Epochs in a folder: one small file each."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vcenter_operator.common.embedded.files import locked, replace_file
from vcenter_operator.common.errors import PermanentError, TransientError


class FolderEpochs:
    """`Epochs`, raised under the folder's lock. `folder` None, or a dry run: counted in memory, nothing is written.

    Each is raised above all others of its stage: with another number of partitions a vCenter changes its partition, and
    what is stated of it must not be older than before.
    """

    def __init__(self, folder: Path | None, *, dry_run: bool = False) -> None:
        self._folder = folder
        self._writes = folder is not None and not dry_run
        self._raised: dict[str, int] = {}

    async def raise_epoch(self, name: str) -> int:
        """See `Epochs.raise_epoch`."""
        if self._folder is None or not self._writes:
            stored = 0 if self._folder is None else _highest(self._folder, name)
            self._raised[name] = max(self._raised.get(name, 0), stored) + 1
            return self._raised[name]
        try:
            return await asyncio.to_thread(_raise, self._folder, name)
        except OSError as error:
            raise TransientError(f"epoch {name}: {error}") from None


def _raise(folder: Path, name: str) -> int:
    with locked(folder):
        epoch = _highest(folder, name) + 1
        replace_file(folder / name, f"{epoch}\n")
    return epoch


def _highest(folder: Path, name: str) -> int:
    stage = name.rpartition("-")[0]
    return max((_read(path) for path in folder.glob(f"{stage}-*")), default=0)


def _read(path: Path) -> int:
    try:
        return int(path.read_text())
    except FileNotFoundError:
        return 0
    except ValueError:
        raise PermanentError(f"{path}: is no epoch (a number); put back the last one, or a higher one") from None
