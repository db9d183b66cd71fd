"""What the API server's errors mean at the port."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from vcenter_operator.applier.ports import Changed, ClusterAway
from vcenter_operator.common.errors import PermanentError
from vcenter_operator.common.kubernetes.errors import Conflict, Rejected, Unreachable

_QUOTED = r'"(?:[^"\\]|\\.)*(?:"|$)'
_DUMPED = r'[^\s"]*\{(?:.*\}(?=: )|.*$)'
_VALUE = re.compile(rf'(value: )(?:{_QUOTED}|{_DUMPED}|[^\s":]+)', re.DOTALL)


@contextmanager
def at_the_port() -> Iterator[None]:
    """A conflict means `Changed`, no answer `ClusterAway`; all others are transient or permanent as they stand."""
    try:
        yield
    except Conflict as error:
        raise Changed(str(error)) from error
    except Unreachable as error:
        raise ClusterAway(str(error)) from error
    except Rejected as error:
        raise PermanentError(without_values(str(error))) from None


def without_values(text: str) -> str:
    """The server's complaint without what it complains about: the fields, and what is wrong with them, are enough.

    It repeats values, a whole pod template with its environment for one immutable field, and this is logged and shown.
    """
    return _VALUE.sub(r"\1…", text)
