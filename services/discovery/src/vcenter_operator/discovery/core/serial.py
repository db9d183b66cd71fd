"""Serial number arithmetic (RFC 1982) for SOA serials."""

from __future__ import annotations

_SIZE = 2**32
_HALF = 2**31


def is_newer(serial: int, than: int) -> bool:
    """Whether `serial` comes after `than`, wrapping around at 2**32.

    Two serials exactly half the circle apart have no order (RFC 1982, 3.2): neither is newer.
    """
    return 0 < (serial - than) % _SIZE < _HALF
