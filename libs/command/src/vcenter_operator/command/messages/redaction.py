"""What leaves a region in a file. Pure, but for the key of each redaction.

- Manifests are left out. Their digests are keyed anew, by a random key that is kept nowhere: equal ones stay equal
  within the file, and nobody can guess a body by them, not even who has the keys of the bus.
- Values of the Secret keep their form only: texts are `masked`, numbers 1; true, false and null say nothing. So
  templates render with them, as far as they do not look into texts. Keys that a person calls no secret stay.
- Derived passwords, and values of the Secret where they stand in templates or reasons, are `masked`. Short words are
  not looked for: they would be found in names, and what is rendered would be another thing.
"""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vcenter_operator.command.diff.masking import without_passwords
from vcenter_operator.command.messages.model import Entry, without_bodies
from vcenter_operator.common.configuration import OWN_SECRETS
from vcenter_operator.common.messages import Inventory, ManifestDelta, Statement

MASKED = "masked"
NO_SECRETS = frozenset(
    {"namespace", "pbm_enabled", "manage_service_user_passwords", "dns_ip", "dns_port", "vcenter_thumbprints"}
)
"""Keys of the Secret that the operator itself reads, so that they have to be of their form, and that are no secrets."""
_SHORTEST = 6
_WORD = re.compile(r"[a-z0-9]+([-._/][a-z0-9]+)*")
_SHORTEST_WORD = 16
"""What is shorter is not looked for in texts. Words as names have them (`qa-de-1`) have to be longer."""
_KEPT_OF_METADATA = ("name", "namespace", "labels", "uid", "resourceVersion", "generation")

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Redaction:
    """Masks for one file. `values` are those of the Secret, `clear` the keys that are no secrets."""

    values: Mapping[str, str] = field(repr=False)
    clear: frozenset[str]
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, values: Mapping[str, str], clear: Collection[str] = ()) -> Redaction:
        """With a key of its own."""
        return cls(values, (frozenset(clear) - OWN_SECRETS) | NO_SECRETS, os.urandom(32))

    def entry(self, entry: Entry) -> Entry:
        """Without anything secret."""
        statement = entry.statement
        if isinstance(statement, ManifestDelta):
            statement = self._delta(statement)
        return replace(entry, statement=None if statement is None else self._reasons(statement))

    def secret(self) -> dict[str, str]:
        """The values as they leave; of those that no template sees only the seed, which there has to be."""
        kept = {key: value for key, value in self.values.items() if key == "password" or key not in OWN_SECRETS}
        return {key: value if key in self.clear else masked_value(value) for key, value in kept.items()}

    def resource(self, resource: Resource) -> dict[str, Any]:
        """A template, or the ConfigMap of the cells."""
        metadata = {name: value for name, value in resource["metadata"].items() if name in _KEPT_OF_METADATA}
        content = {name: value for name, value in resource.items() if name not in ("metadata", "status")}
        return {**self._masked(content), "metadata": metadata}

    def _delta(self, delta: ManifestDelta) -> ManifestDelta:
        index = {
            object_id: entry.model_copy(update={"digest": self._digest(entry.digest)})
            for object_id, entry in delta.index.items()
        }
        return without_bodies(delta).model_copy(update={"index": index})

    def _digest(self, digest: str) -> str:
        return hmac.digest(self.key, digest.encode(), "sha256").hex()

    def _reasons(self, statement: Statement) -> Statement:
        if not isinstance(statement, Inventory | ManifestDelta):
            return statement
        unknown = [each.model_copy(update={"reason": self._masked(each.reason)}) for each in statement.unknown]
        return statement.model_copy(update={"unknown": tuple(unknown)})

    def _masked(self, value: Any) -> Any:
        return without_passwords(_replaced(value, self._known()), MASKED)

    def _known(self) -> list[str]:
        """The longest first, since one may be part of another."""
        values = {value for key, value in self.values.items() if key not in self.clear and _is_looked_for(key, value)}
        return sorted(values, key=len, reverse=True)


def _is_looked_for(key: str, value: str) -> bool:
    word = key not in OWN_SECRETS and _WORD.fullmatch(value)
    return len(value) >= (_SHORTEST_WORD if word else _SHORTEST)


def masked_value(text: str) -> str:
    """A value of the Secret by its form: what is JSON stays JSON of that shape."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return MASKED
    return json.dumps(_form(parsed))


def _form(value: Any) -> Any:
    match value:
        case bool() | None:
            return value
        case int() | float():
            return 1
        case dict():
            return {key: _form(each) for key, each in value.items()}
        case list():
            return [_form(each) for each in value]
    return MASKED


def _replaced(value: Any, known: Iterable[str]) -> Any:
    match value:
        case str():
            for secret in known:
                value = value.replace(secret, MASKED)
            return value
        case Mapping():
            return {key: _replaced(each, known) for key, each in value.items()}
        case list() | tuple():
            return [_replaced(each, known) for each in value]
    return value
