"""What the API server's answers, or the lack of one, mean to the operator. The one place that decides it.

```
ApiError
├── Unreachable   transient   no answer: network, TLS, timeout
├── Unavailable   transient   429, 5xx
├── Forbidden     transient   401, 403: rights are granted while we run
├── NotFound      transient   404 of a write or a list: the kind or the namespace is not there (yet)
├── Conflict      transient   409: changed meanwhile, exists already, or a precondition failed
├── Expired       transient   410: list again
└── Rejected      permanent   400, 405, 413, 415, 422, and 500 for a field that is undeclared or of another type
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from kubernetes_asyncio.client.exceptions import ApiException

from vcenter_operator.common.errors import OperatorError, PermanentError, TransientError

_LONGEST_TEXT = 600
_REFUSED_WITH_500 = ("field not declared in schema", "failed to create typed patch object", "illegal base64 data")
"""What the server says of an apply that does not fit the schema."""

_GOT = re.compile(r"(: expected [a-z ]+, got ).*", re.DOTALL)
"""Such a refusal repeats all that stands in the field. Templates put passwords into objects of any kind."""


class ApiError(OperatorError):
    """Base of what a request may raise. `status` is HTTP's (0: no answer), `reason` Kubernetes' (CamelCase)."""

    status: int = 0
    reason: str = ""


class Unreachable(ApiError, TransientError):
    """No answer."""


class Unavailable(ApiError, TransientError):
    """The server is overloaded or broken just now."""


class Forbidden(ApiError, TransientError):
    """The account lacks the right, or its token is not accepted."""


class NotFound(ApiError, TransientError):
    """There is no such collection: the kind or the namespace is missing."""


class Conflict(ApiError, TransientError):
    """Somebody else was faster, or a precondition failed."""


class Expired(ApiError, TransientError):
    """The resourceVersion is too old: list again."""


class Rejected(ApiError, PermanentError):
    """The server does not want this, now or later."""


@contextmanager
def translated(doing: str, *, secret: bool = False) -> Iterator[None]:
    """Turns what the client raises into `ApiError`.

    `doing` begins the text ("apply /api/v1/..."). With `secret`, the server's message is left out, since it may
    repeat values: only the fields that it complains about are named.
    """
    try:
        yield
    except ApiException as error:
        raise of_answer(error, doing, secret=secret) from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(f"{doing}: {type(error).__name__}: {error}".rstrip(": ")) from None


def outcome_of(error: Exception) -> str:
    """A word for what came of a request, for counting."""
    return _OUTCOMES.get(type(error), "failed")


def of_answer(error: ApiException, doing: str, *, secret: bool = False) -> ApiError:
    """The error for an answer of the server."""
    return of_status(error.status or 0, _body(error.body), doing, secret=secret, headers=error.headers or {})


def of_status(
    status: int, body: Mapping[str, Any], doing: str, *, secret: bool = False, headers: Mapping[str, str] | None = None
) -> ApiError:
    """The error for a `Status` object."""
    text = f"{doing}: {status} {_explanation(body, secret)}".rstrip()
    kind = _KINDS.get(status) or (Unavailable if status >= 500 or status == 0 else Rejected)
    if status == 500 and _refused_with_500(body):
        kind = Rejected
    if status == 403:
        text += " (grant the right to the operator's account; it is tried again)"
    made = kind(text)
    made.status, made.reason = status, str(body.get("reason") or "")
    if isinstance(made, TransientError):
        made.retry_after = _retry_after(body, headers or {})
    return made


_OUTCOMES: dict[type[Exception], str] = {
    Unreachable: "unreachable",
    Unavailable: "unavailable",
    Forbidden: "forbidden",
    NotFound: "not_found",
    Conflict: "conflict",
    Expired: "expired",
    Rejected: "rejected",
}

_KINDS: dict[int, type[ApiError]] = {
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Expired,
    425: Unavailable,
    429: Unavailable,
}


def _body(text: Any) -> dict[str, Any]:
    """`ApiException.body` is a JSON string, or None, or what a proxy in between answered."""
    try:
        body = json.loads(text)
    except (TypeError, ValueError):
        return {"message": str(text or "").strip()}
    return body if isinstance(body, dict) else {"message": str(body)}


def _explanation(body: Mapping[str, Any], secret: bool) -> str:
    if not secret:
        return _GOT.sub(r"\1…", str(body.get("message") or body.get("reason") or ""))[:_LONGEST_TEXT]
    causes = (body.get("details") or {}).get("causes") or []
    fields = ", ".join(str(cause.get("field")) for cause in causes if cause.get("field"))
    why = fields or _refused_with_500(body)
    return f"{body.get('reason') or 'refused'} {f'because of {why}' if why else ''}".strip()


def _refused_with_500(body: Mapping[str, Any]) -> str | None:
    message = str(body.get("message"))
    return next((text for text in _REFUSED_WITH_500 if text in message), None)


def _retry_after(body: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    seconds = (body.get("details") or {}).get("retryAfterSeconds") or headers.get("Retry-After")
    try:
        return float(seconds) if seconds else None
    except ValueError:
        return None
