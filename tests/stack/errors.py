"""The errors that the test stack raises."""

from __future__ import annotations


class StackError(RuntimeError):
    """Something that the stack was asked to do did not work: the message says what, and ends with the server's log."""


class ServerUnavailable(StackError):
    """A server cannot be had on this machine: neither installed, nor built, nor given as an endpoint."""


class NotOurs(StackError):
    """A server that is somebody else's endpoint was asked to stop, die or pause."""
