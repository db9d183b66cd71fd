"""The topology as a definitions file of RabbitMQ: every exchange and queue, and a user for each service.

A service's user may make what belongs to its stage, may read from that alone, and may write to it and to what
leads on from it: the requests of the stage before it. `COMMAND` is for people: it reads archives and parked messages,
asks for resyncs, and puts statements back. None has a password, so that each logs in with a client certificate whose
common name is the user's, or gets a password from `rabbitmqctl change_password`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vcenter_operator.common.bus.rabbitmq.topology import ARROWS, RECEIVERS, Exchange, Names
from vcenter_operator.common.messages import Stage

COMMAND = "vcenter-operator-command"
_PREFIX = r"^vcenter-operator(-dry-run)?\.g[0-9]+\."


@dataclass(frozen=True)
class Rights:
    """Regular expressions over the names of exchanges and queues."""

    configure: str
    write: str
    read: str


def user_of(stage: Stage) -> str:
    """The user of a service."""
    return f"vcenter-operator-{stage}"


def rights_of(stage: Stage) -> Rights:
    """What a service may do, in every generation and in dry runs."""
    own = [rf"{stage}\..*"]
    if (receiver := RECEIVERS.get(stage)) is not None:
        own.append(rf"{ARROWS[receiver]}(\.archive)?")
    asked = [rf"{before}\.resync" for before, after in pairwise(Stage) if after is stage]
    bound_to = [ARROWS[stage]] if stage in ARROWS else []
    return Rights(_any(own), _any([*own, *asked]), _any([*own, *bound_to]))


def rights_of_command() -> Rights:
    """What the commands of people may do."""
    arrows = "|".join(ARROWS.values())
    stages = "|".join(Stage)
    return Rights(
        _any([rf"({stages})\.parked\.reader"]),
        _any([arrows, rf"({stages})\.resync"]),
        _any([rf"({arrows})\.archive", rf"({stages})\.parked"]),
    )


def definitions(names: Names, vhost: str) -> dict[str, Any]:
    """For `rabbitmqctl import_definitions`, which adds what is missing and changes rights to these."""
    rights = {**{user_of(stage): rights_of(stage) for stage in Stage}, COMMAND: rights_of_command()}
    declared = names.everything()
    lasting = {"vhost": vhost, "durable": True, "auto_delete": False}
    return {
        "vhosts": [{"name": vhost}],
        "users": [{"name": user, "password_hash": "", "tags": []} for user in rights],
        "permissions": [
            {"user": user, "vhost": vhost, "configure": its.configure, "write": its.write, "read": its.read}
            for user, its in rights.items()
        ],
        "exchanges": [
            {"name": item.name, "type": item.type.value, **lasting, "internal": False, "arguments": {}}
            for item in declared
            if isinstance(item, Exchange)
        ],
        "queues": [
            {"name": item.name, **lasting, "arguments": item.arguments}
            for item in declared
            if not isinstance(item, Exchange)
        ],
        "bindings": [
            {
                "source": exchange,
                "vhost": vhost,
                "destination": item.name,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for item in declared
            if not isinstance(item, Exchange)
            for exchange, key in item.bindings
        ],
    }


def _any(names: Iterable[str]) -> str:
    return f"{_PREFIX}({'|'.join(names)})$"
