"""Messages to bytes and back: one msgpack map with `schema`, `kind` and the message's own fields."""

from __future__ import annotations

import hashlib
from typing import Any

import msgpack
from pydantic import ValidationError

from vcenter_operator.common.errors import MalformedMessage, NewerSchema, PermanentError
from vcenter_operator.common.messages import (
    SCHEMA,
    DnsChange,
    Fact,
    Inventory,
    ManifestDelta,
    ResyncRequest,
    Stage,
    Statement,
)

CONTENT_TYPE = "application/msgpack"
MAX_BYTES = 16 * 1024 * 1024
"""What RabbitMQ takes unless told otherwise (`max_message_size`, since 4.0)."""

ADDED: dict[str, object] = {"suspended": (), "partial": None, "rollouts": {}}
"""Fields that came after the first release of a schema, and what they say when left out.

They are left out then, so that a process from before them goes on. Where they say something it parks the message: what
it would do without them is what they forbid.
"""

_SAID = object()
KINDS: dict[str, type[Fact]] = {kind.__name__: kind for kind in (DnsChange, Inventory, ManifestDelta, ResyncRequest)}


def encode(message: Statement | ResyncRequest) -> bytes:
    """The message as it travels. Raises PermanentError where it holds what cannot, or is larger than the bus takes."""
    kind = type(message).__name__
    try:
        fields = {name: value for name, value in message.model_dump().items() if ADDED.get(name, _SAID) != value}
        packed: bytes = msgpack.packb({"schema": SCHEMA, "kind": kind, **fields})
    except (ValueError, OverflowError) as error:  # halves of surrogate pairs, numbers of more than 64 bits
        raise PermanentError(f"a {kind} holds what cannot be sent: {type(error).__name__}") from None
    if len(packed) > MAX_BYTES:
        raise PermanentError(f"a {kind} of {len(packed)} bytes: the bus takes {MAX_BYTES} at most")
    return packed


def statement_for(stage: Stage, data: bytes) -> Statement:
    """The statement in these bytes, if it is one for that stage. Raises MalformedMessage as `decode` does."""
    message = decode(data)
    if not isinstance(message, Statement) or message.receiver is not stage:
        raise MalformedMessage(f"a {type(message).__name__} is nothing for {stage}")
    return message


def request_in(data: bytes) -> ResyncRequest:
    """The resync request in these bytes. Raises MalformedMessage as `decode` does."""
    message = decode(data)
    if not isinstance(message, ResyncRequest):
        raise MalformedMessage(f"a {type(message).__name__} is no resync request")
    return message


def decode(data: bytes) -> Statement | ResyncRequest:
    """The message that `encode` made these bytes from.

    Raises:
        NewerSchema: its schema is later than this process knows.
        MalformedMessage: it is no message, or its content breaks the type's rules. The text names the field (an
            object id where that is the key), and never repeats a value.
    """
    fields = _unpack(data)
    schema, kind = fields.pop("schema", None), fields.pop("kind", None)
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise MalformedMessage("field 'schema' is missing or not a version number")
    if schema > SCHEMA:
        raise NewerSchema(f"schema {schema} is newer than {SCHEMA}, the latest known here: upgrade, then put it back")
    if not isinstance(kind, str):
        raise MalformedMessage("field 'kind' is missing or not a name")
    message_type = KINDS.get(kind)
    if message_type is None:
        raise MalformedMessage(f"unknown kind of message {kind!r:.60}")
    try:
        message = message_type.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        what = "is not as its type wants it" if first["type"] == "value_error" else first["msg"]
        raise MalformedMessage(f"{kind}: {where:.200}: {what}") from None
    assert isinstance(message, Statement | ResyncRequest)
    return message


def name_of(data: bytes) -> str:
    """The id of the message in these bytes; of bytes that are none, a digest."""
    try:
        return decode(data).trace.message_id
    except MalformedMessage:
        return hashlib.sha256(data).hexdigest()[:16]


def _unpack(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise MalformedMessage(f"{len(data)} bytes are more than a message may have ({MAX_BYTES})")
    try:
        fields = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise MalformedMessage(f"not msgpack: {type(error).__name__}") from None
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise MalformedMessage("not a map of named fields")
    return fields
