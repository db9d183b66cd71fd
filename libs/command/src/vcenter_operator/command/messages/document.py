"""Statements as documents, for scripts and for `show`. Fields are added over time, none changes its meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from vcenter_operator.command.messages.applied import Applied
from vcenter_operator.command.messages.chain import Step
from vcenter_operator.command.messages.differences import differences
from vcenter_operator.command.messages.model import Entry, Fact
from vcenter_operator.command.status.command import Format
from vcenter_operator.common.documents import encoded
from vcenter_operator.common.messages import ManifestDelta, Statement

Document = Mapping[str, Any]


def text_of(document: Any, form: Format) -> str:
    """As JSON, or as YAML for people."""
    if form is Format.JSON:
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text


def entry_document(entry: Entry) -> dict[str, Any]:
    """A message, decoded; of manifests only whose they are."""
    head: dict[str, Any] = {
        "at": moment_text(entry.at),
        "for": str(entry.stage),
        "host": entry.host,
        "messageId": entry.message_id,
        "correlationId": entry.correlation_id,
    }
    if entry.statement is None:
        return {**head, "problem": entry.problem}
    body = statement_document(entry.statement)
    return {**head, "kind": body.pop("kind"), "sent": [str(one) for one in entry.sent], "statement": body}


def statement_document(statement: Statement) -> dict[str, Any]:
    """All that it says, but for manifests."""
    fields = encoded(statement)
    fields.pop("manifests", None)
    return {"kind": type(statement).__name__, **fields}


def fact_document(fact: Fact) -> dict[str, Any]:
    """A statement, and how often it was said."""
    return {**entry_document(fact.entry), "times": fact.times, "lastAt": moment_text(fact.last_at)}


def step_document(step: Step, applied: Applied | None) -> dict[str, Any]:
    """A step of a chain: what it changed, and what became of that."""
    statement = step.fact.entry.statement
    changed = differences(step.before, statement) if step.before is not None and statement is not None else None
    document = {**fact_document(step.fact), "differences": changed}
    if isinstance(statement, ManifestDelta):
        document["applied"] = None if applied is None else _applied(applied)
    return document


def _applied(applied: Applied) -> dict[str, Any]:
    return {
        "acted": str(applied.acted),
        "actedOn": encoded(applied.acted_on),
        "lastChange": moment_text(applied.changed),
        "objects": [
            {
                "id": str(one.id),
                "became": str(one.became),
                "exists": one.exists,
                "revision": one.revision,
                "writtenAt": moment_text(one.at),
                "asStated": one.as_stated,
            }
            for one in applied.objects
        ],
    }


def moment_text(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the millisecond."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
