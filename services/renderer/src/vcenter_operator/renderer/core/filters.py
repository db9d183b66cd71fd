"""The filters and globals that templates have beside stock Jinja2's."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

DerivePassword = Callable[[str, str], str]
"""(username, host) to the password."""


def ini_escape(value: Any) -> str:
    """`$` to `$$`: oslo.config would substitute it."""
    return str(value).replace("$", "$$")


def ini_quote(value: Any) -> str:
    """`ini_escape`, in double quotes, inner double quotes after a backslash."""
    escaped = ini_escape(value).replace('"', '\\"')
    return f'"{escaped}"'


def b64enc(data: str | bytes) -> str:
    """Base64 (RFC 4648) of the text in UTF-8."""
    return base64.b64encode(_bytes(data)).decode()


def sha256sum(data: str | bytes) -> str:
    """SHA-256 of the text in UTF-8, in hex."""
    return hashlib.sha256(_bytes(data)).hexdigest()


def password_filter(derive: DerivePassword) -> Callable[..., str]:
    """`derive_password`: `"user" | derive_password` or `"user" | derive_password(hostname)`.

    What is not given comes from the context's `username` and `host`.
    """

    @pass_context
    def derive_password(context: Context, username: str | None = None, host: str | None = None) -> str:
        return derive(str(username or context["username"]), str(host or context["host"]))

    return derive_password


@pass_context
def render(context: Context, path: str) -> str:
    """Renders another template by path, in the current context with that template's own options."""
    template = context.environment.get_template(path)
    return context.environment.concat(template.root_render_func(template.new_context(context.get_all())))


@pass_context
def current_context(context: Context) -> Mapping[str, Any]:
    """The global `context()`: every variable and global there is, read-only.

    Jinja2's own context would lead out of the sandbox: it holds the environment.
    """
    return MappingProxyType(dict(context.get_all()))


FILTERS: dict[str, Callable[..., str]] = {
    "ini_escape": ini_escape,
    "ini_quote": ini_quote,
    "quote": ini_quote,
    "b64enc": b64enc,
    "sha256sum": sha256sum,
    "render": render,
}
GLOBALS: dict[str, Callable[..., Any]] = {"context": current_context, "callable": callable}


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data
