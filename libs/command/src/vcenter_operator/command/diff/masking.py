"""What no diff shows: the values of Secrets, as `kubectl diff` masks them, and passwords that were derived.

A derived password has one of 21 forms (Master Password, type *long*), so that it is known by its form wherever it
stands: also one of an earlier seed, or of an account that only a template names.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vcenter_operator.common.masterpassword import LONG_PASSWORD

MASK, BEFORE, AFTER = "***", "*** (before)", "*** (after)"

_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
_SECRET_FIELDS = ("data", "stringData")

Object = Mapping[str, Any]


def masked(before: Object | None, after: Object | None) -> tuple[Object | None, Object | None]:
    """Both objects without secrets; that one differs is still seen."""
    before, after = _secret(before, after, BEFORE), _secret(after, before, AFTER)
    known_before, known_after = set(_passwords(before)), set(_passwords(after))
    return _hide(before, known_after, BEFORE), _hide(after, known_before, AFTER)


def without_passwords(value: Any, mask: str) -> Any:
    """The same with every derived password in its texts replaced."""
    return _mapped(value, lambda text: _found(text, lambda _: mask))


def _secret(one: Object | None, other: Object | None, changed: str) -> Object | None:
    if one is None or one.get("kind") != "Secret":
        return one
    fields = {}
    for field in _SECRET_FIELDS:
        if isinstance(values := one.get(field), Mapping):
            others = (other or {}).get(field)
            fields[field] = {key: _mark(key, value, others, changed) for key, value in values.items()}
    return {**one, **fields}


def _mark(key: str, value: Any, others: Any, changed: str) -> str:
    """As kubectl: what stands on one side alone is not marked."""
    return changed if isinstance(others, Mapping) and key in others and others[key] != value else MASK


def _hide(one: Any, known: set[str], changed: str) -> Any:
    def mask(password: str) -> str:
        return MASK if password in known or not known else changed

    return _mapped(one, lambda text: _found(text, mask))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    return [_mapped(inner, change) for inner in value] if isinstance(value, list) else value


def _found(text: str, mask: Callable[[str], str]) -> str:
    """The text with every password in it replaced, also where it is encoded."""

    def encoded(match: re.Match[str]) -> str:
        found = LONG_PASSWORD.search(_decoded(match[0]))
        return mask(found[0]) if found else match[0]

    return LONG_PASSWORD.sub(lambda match: mask(match[0]), _BASE64.sub(encoded, text))


def _passwords(value: Any) -> Iterator[str]:
    found: list[str] = []

    def note(password: str) -> str:
        found.append(password)
        return MASK

    _mapped(value, lambda text: _found(text, note))
    yield from found


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""
