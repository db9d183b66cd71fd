"""What the API server's errors mean at the port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vcenter_operator.applier.ports import Changed, ClusterAway
from vcenter_operator.common.kubernetes.errors import Conflict, Unreachable


@contextmanager
def at_the_port() -> Iterator[None]:
    """A conflict means `Changed`, no answer `ClusterAway`; all others are transient or permanent as they stand."""
    try:
        yield
    except Conflict as error:
        raise Changed(str(error)) from error
    except Unreachable as error:
        raise ClusterAway(str(error)) from error
