"""The state as a person reads it. Colours say nothing that words do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.command.status.model import Condition, Partition, Pipeline, StageView, Template, VCenter
from vcenter_operator.common.identity import ObjectId

_STATES = {"ready": "green", "trouble": "bold red", "starting": "yellow", "gone": "dim"}
_LONGEST = 160
"""Characters of a message in the table; the view of one vCenter has all."""
_NOBODY = "NOBODY"


def overview(pipeline: Pipeline) -> RenderableType:
    """The whole pipeline."""
    parts: list[RenderableType] = [_stages(pipeline), Text()]
    if pipeline.vcenters:
        parts += [_vcenters(pipeline.vcenters, pipeline.at), Text()]
    if shown := [one for one in pipeline.templates or () if one.under_way or one.suspended]:
        parts += [_templates(shown), Text()]
    return Group(*parts, *_verdict(pipeline))


def detail(vcenter: VCenter, pipeline: Pipeline) -> RenderableType:
    """All that is known of one vCenter."""
    parts: list[RenderableType] = [Text(vcenter.name, style="bold"), _facts(vcenter, pipeline), Text()]
    parts.append(_conditions(vcenter.conditions, pipeline.at))
    if vcenter.clusters:
        parts += [Text(), _clusters(vcenter)]
    if vcenter.held:
        parts += [Text(), *_held(vcenter)]
    return Group(*parts, *_not_asked(pipeline))


def _stages(pipeline: Pipeline) -> Table:
    table = _table("STAGE", "REPLICA", "PARTITIONS (EPOCH)", "SINCE", "WAITING", "RETRYING", "PARKED", right=(4, 5, 6))
    for view in pipeline.stages:
        first = True
        for owner, partitions in _owners(view):
            nobody = owner.startswith(_NOBODY)
            waiting, parked = _count(view.waiting, _waiting(view)), _count(view.parked, style="bold red")
            table.add_row(
                Text(str(view.stage) if first else "", style="bold"),
                Text(owner, style="bold red" if nobody else ""),
                Text(", ".join(_partition(one) for one in partitions), style="red" if nobody else ""),
                _ago(max((one.since for one in partitions if one.since), default=None), pipeline.at),
                *((waiting, _count(view.retrying), parked) if first else ()),
            )
            first = False
    return table


def _owners(view: StageView) -> list[tuple[str, list[Partition]]]:
    """Who has which partitions; those that nobody works on last."""
    owners: dict[str, list[Partition]] = {}
    for partition in view.partitions:
        owner = partition.owner or "?"
        if partition.owned is False:
            owner = f"{_NOBODY} (last {partition.owner})" if partition.owner else _NOBODY
        owners.setdefault(owner, []).append(partition)
    return sorted(owners.items(), key=lambda item: (item[0].startswith(_NOBODY), item[1][0].number))


def _partition(partition: Partition) -> str:
    return f"{partition.number} ({partition.epoch})" if partition.epoch else str(partition.number)


def _waiting(view: StageView) -> str:
    """Where they wait, unless there is one partition only."""
    waiting = [partition for partition in view.partitions if partition.waiting]
    if len(view.partitions) == 1 or not waiting:
        return ""
    return f" ({', '.join(f'{one.waiting} in {one.number}' for one in waiting)})"


def _vcenters(vcenters: tuple[VCenter, ...], at: datetime) -> Table:
    domain = _common_domain(vcenters)
    name = f"VCENTER (.{domain})" if domain else "VCENTER"
    table = _table(
        name, "STATE", "SINCE", "CLUSTERS", "OBJECTS", "HELD", "REVISION", "CHANGED", "TROUBLE", right=(3, 4, 5)
    )  # fmt: skip
    for vcenter in vcenters:
        table.add_row(
            Text(vcenter.name.removesuffix(f".{domain}") if domain else vcenter.name),
            Text(vcenter.state, style=_STATES[vcenter.state]),
            _ago(vcenter.ready.since if vcenter.ready else None, at),
            _count(vcenter.cluster_count),
            _count(vcenter.objects),
            _count(len(vcenter.held), style="bold red"),
            _revision(vcenter),
            _ago(vcenter.changed, at),
            Text(_short(str(vcenter.trouble)) if vcenter.trouble else ""),
        )
    return table


def _templates(templates: Iterable[Template]) -> Table:
    """Those whose edits do not go everywhere at once, or at all."""
    table = _table("TEMPLATE", "ROLLOUT", "VERSION", "CANARY", "SUSPENDED")
    for template in templates:
        phase = template.phase if template.under_way else None
        table.add_row(
            Text(template.name),
            Text(phase or "-", style="bold red" if phase == "Paused" else ""),
            Text(_number(template.version) if phase else "-"),
            Text((template.canary if phase else None) or "-"),
            Text("suspended" if template.suspended else "-", style="yellow" if template.suspended else ""),
        )
    return table


def _revision(vcenter: VCenter) -> Text:
    """What was acted on, and what is stated, where that is another."""
    applied, stated = vcenter.applied or "-", vcenter.inventory
    return Text(applied if stated in (None, vcenter.applied) else f"{applied}, {stated} stated")


def _verdict(pipeline: Pipeline) -> Iterator[Text]:
    states = [vcenter.state for vcenter in pipeline.vcenters or ()]
    if states:
        kinds = [f"{states.count(state)} {state}" for state in _STATES if state in states]
        yield Text(f"{len(states)} vCenters: {', '.join(kinds)}")
    for trouble in pipeline.troubles:
        if pipeline.vcenters is None or not trouble.startswith(tuple(f"{one.name}:" for one in pipeline.vcenters)):
            yield Text(trouble, style="bold red")
    yield from _not_asked(pipeline)


def _not_asked(pipeline: Pipeline) -> Iterator[Text]:
    for source, why in pipeline.not_asked.items():
        yield Text(f"could not be asked: {source}: {why}", style="bold yellow")


def _facts(vcenter: VCenter, pipeline: Pipeline) -> Table:
    table = Table.grid(padding=(0, 2))
    zone = {
        True: "in the zone",
        False: "gone from the zone, see Applied",
        None: "not known yet",
    }
    rows = {
        "state": vcenter.state,
        "zone": f"{zone[vcenter.present]} (serial {_number(vcenter.serial)})",
        "address": ", ".join(vcenter.addresses) or "-",
        "inventory": f"{vcenter.inventory or '-'} stated, {vcenter.applied or '-'} acted on",
        "clusters": _number(vcenter.cluster_count),
        "objects": _number(vcenter.objects) + (f", of them {len(vcenter.held)} held" if vcenter.held else ""),
        "policy": (vcenter.policy or "-") + (", suspended" if vcenter.suspended else ""),
        "changed": _changed(vcenter, pipeline),
        "partition": f"{vcenter.partition}: {_workers(vcenter, pipeline)}",
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="dim"), Text(value, style=_STATES.get(value, "")))
    return table


def _changed(vcenter: VCenter, pipeline: Pipeline) -> str:
    return "-" if vcenter.changed is None else f"{_ago(vcenter.changed, pipeline.at)} ago"


def _workers(vcenter: VCenter, pipeline: Pipeline) -> str:
    """Which replica of each stage works on it."""
    workers = []
    for view in pipeline.stages:
        one = next((each for each in view.partitions if each.number == vcenter.partition), view.partitions[0])
        workers.append(f"{view.stage} {_NOBODY if one.owned is False else one.owner or '?'}")
    return ", ".join(workers)


def _conditions(conditions: Iterable[Condition], at: datetime) -> Table:
    table = _table("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE")
    for condition in conditions:
        table.add_row(
            Text(condition.type),
            Text(condition.status, style="bold red" if condition.wrong else "green"),
            Text(condition.reason),
            _ago(condition.since, at),
            Text(condition.message),
        )
    return table


def _clusters(vcenter: VCenter) -> Table:
    table = _table("CLUSTER", "ROLE", "AVAILABILITY ZONE", "MANAGED OBJECT")
    for cluster in vcenter.clusters:
        table.add_row(Text(cluster.name), Text(cluster.role), Text(cluster.availability_zone), Text(cluster.moid))
    return table


def _held(vcenter: VCenter) -> Iterator[Text]:
    yield Text(f"{len(vcenter.held)} deletions are held until a person releases them", style="bold red")
    if vcenter.held_plan:
        yield Text(f"release exactly these: vcenter-operator approve {vcenter.name} --plan {vcenter.held_plan}")
    for held in vcenter.held:
        yield Text(f"  {_object(held)}")


def _object(text: str) -> str:
    try:
        return describe_object(ObjectId.parse(text))
    except ValueError:
        return text


def _table(*columns: str, right: tuple[int, ...] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number in right else "left", overflow="fold")
    return table


def _count(number: int | None, more: str = "", *, style: str = "") -> Text:
    return Text(_number(number) + more, style=style if number else "")


def _number(number: int | None) -> str:
    return "-" if number is None else str(number)


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}…"


def _ago(moment: datetime | None, at: datetime) -> Text:
    """As kubectl tells ages."""
    if moment is None:
        return Text("-")
    seconds = max(0, int((at - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return Text(f"{seconds // length}{unit}")
    return Text(f"{seconds}s")


def _common_domain(vcenters: Iterable[VCenter]) -> str:
    """What stands after the first label, where it is the same for all."""
    domains = {vcenter.name.partition(".")[2] for vcenter in vcenters}
    return domains.pop() if len(domains) == 1 else ""
