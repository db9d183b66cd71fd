"""No freeze: a dry run writes nothing, and shall show what would be done while the real operator is frozen."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext


class NeverFrozen:
    """See `ports.Freeze`."""

    async def look(self) -> None:
        """See `Freeze.look`."""

    def attended(self) -> AbstractAsyncContextManager[None]:
        """See `Freeze.attended`."""
        return nullcontext()

    def check(self) -> None:
        """See `Freeze.check`."""
