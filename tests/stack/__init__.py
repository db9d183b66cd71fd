"""The real servers that the tests run against: installed or built where missing, started on loopback, and stopped.

``Stack`` is the way in. Everything but the zone's and the inventory's contents needs the standard library alone.
"""

from __future__ import annotations

from tests.stack.errors import NotOurs, ServerUnavailable, StackError
from tests.stack.stack import SERVERS, Stack

__all__ = ["SERVERS", "NotOurs", "ServerUnavailable", "Stack", "StackError"]
