"""The port by which a stage tells people what they must notice, at the object that it is about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol

EventType = Literal["Normal", "Warning"]


class Events(Protocol):
    """Where Events go. Telling one never fails, never waits for a server, and may come to nothing under a flood."""

    async def tell(self, regarding: Mapping[str, Any], type_: EventType, reason: str, note: str) -> None:
        """Says something about an object once; said again, it is counted.

        `regarding` is the object (apiVersion, kind and metadata with name, namespace and uid), `reason` CamelCase, and
        `note` a sentence for people, without secrets.
        """
        ...

    def after(self, seconds: float, subject: str, look: Callable[[], Awaitable[None]]) -> None:
        """Calls `look` when so much time has passed, to tell of what lasts; one of a subject at a time.

        Errors of the operator that it raises end in the log.
        """
        ...


class Silence:
    """Events of a dry run, and of folders: nothing is told but in the log, where every stage says it anyway."""

    async def tell(self, regarding: Mapping[str, Any], type_: EventType, reason: str, note: str) -> None:
        """See `Events.tell`."""

    def after(self, seconds: float, subject: str, look: Callable[[], Awaitable[None]]) -> None:
        """See `Events.after`."""
