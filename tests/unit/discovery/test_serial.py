"""Serial arithmetic by RFC 1982, against the definition in the RFC's own words."""

from hypothesis import example, given
from hypothesis import strategies as st

from vcenter_operator.discovery.core.serial import is_newer

SERIALS = st.integers(0, 2**32 - 1)


def rfc_1982_less(first: int, second: int) -> bool:
    """RFC 1982, 3.2, with SERIAL_BITS = 32, as it stands there."""
    return (first < second and second - first < 2**31) or (first > second and first - second > 2**31)


@given(SERIALS, SERIALS)
@example(2**32 - 1, 0)
@example(0, 2**31)
@example(5, 5)
def test_order_is_that_of_the_rfc(first: int, second: int) -> None:
    assert is_newer(second, than=first) == rfc_1982_less(first, second)


@given(SERIALS, st.integers(1, 2**31 - 1))
def test_adding_makes_newer_across_the_wrap(serial: int, step: int) -> None:
    later = (serial + step) % 2**32
    assert is_newer(later, than=serial)
    assert not is_newer(serial, than=later)


@given(SERIALS)
def test_half_the_circle_apart_has_no_order(serial: int) -> None:
    opposite = (serial + 2**31) % 2**32
    assert not is_newer(opposite, than=serial)
    assert not is_newer(serial, than=opposite)
