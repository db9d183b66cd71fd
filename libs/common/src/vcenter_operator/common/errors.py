"""The error tree. Everything the operator raises on purpose is one of two kinds.

```
OperatorError
├── TransientError          it may work later: retried with backoff, never blocking another vCenter
│   ├── BusUnavailable      the broker is away, or did not confirm in time
│   ├── OwnershipLost       the partition belongs to another replica now
│   └── StaleRecord         the record changed since it was read
└── PermanentError          it cannot work as it stands: parked with its reason, shown where it was caused
    ├── ConfigurationError  a setting or a key of the Secret is missing or wrong
    └── MalformedMessage    bytes that are no message of ours
        └── NewerSchema     a message of a version that this process does not know yet
```
"""

from __future__ import annotations


class OperatorError(Exception):
    """Base of every error that the operator raises on purpose."""


class TransientError(OperatorError):
    """It may work later.

    `retry_after` (seconds) is the source's own wish, where it states one; otherwise the caller's backoff decides.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(OperatorError):
    """It cannot work as it stands: somebody has to change something."""


class BusUnavailable(TransientError):
    """The broker is away, blocked, or did not confirm in time."""


class OwnershipLost(TransientError):
    """The partition is no longer this replica's; whatever was under way for it must stop."""


class StaleRecord(TransientError):
    """The record changed since it was read: read it again, decide again."""


class ConfigurationError(PermanentError):
    """A setting, or a key of the Secret, is missing or wrong. The text names it and says what to do."""


class MalformedMessage(PermanentError):
    """Bytes that are no message of this system."""


class NewerSchema(MalformedMessage):
    """A message of a later schema than this process knows; parked until the process is upgraded."""
