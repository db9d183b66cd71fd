"""What `vcenter-operator status` does: looks once, or again and again, and says by its exit code what it saw."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from enum import StrEnum

import yaml
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from vcenter_operator.command import terminal
from vcenter_operator.command.status import screen
from vcenter_operator.command.status.document import document_of, vcenter_document
from vcenter_operator.command.status.model import Pipeline, VCenter
from vcenter_operator.command.status.reading import named
from vcenter_operator.command.status.sources import RECORDS, Sources, open_sources
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.settings import Settings

EXIT_READY, EXIT_TROUBLE, EXIT_NOT_ASKED = 0, 1, 2


class Format(StrEnum):
    """How it is said."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True)
class Wish:
    """What is to be shown. `every`: seconds between two looks; None: one look. `timeout`: seconds for each server."""

    vcenter: str | None = None
    format: Format = Format.TABLE
    every: float | None = None
    timeout: float = 10.0


async def status(settings: Settings, wish: Wish) -> int:
    """Shows it on standard output. Returns the exit code; while watching, that of the last look.

    Raises:
        ConfigurationError: the vCenter that is asked for is not known, or a setting is wrong.
    """
    async with open_sources(settings, timeout=wish.timeout) as sources:
        if wish.every is not None:
            return await _watch(sources, wish, wish.every)
        pipeline = await sources.look()
        if wish.format is Format.TABLE:
            terminal.show(terminal.output(), _shown(pipeline, wish))
        else:
            sys.stdout.write(_document(pipeline, wish))
        return exit_code(pipeline, wish.vcenter)


def exit_code(pipeline: Pipeline, name: str | None = None) -> int:
    """0: all is well; 1: something is wrong; 2: not everything could be asked, whatever else is wrong."""
    if pipeline.not_asked:
        return EXIT_NOT_ASKED
    vcenter = named(pipeline.vcenters or (), name) if name else None
    wrong = pipeline.troubles if vcenter is None else vcenter.state in ("trouble", "starting")
    return EXIT_TROUBLE if wrong else EXIT_READY


async def _watch(sources: Sources, wish: Wish, every: float) -> int:
    """Until it is interrupted. On a terminal one screen is drawn again and again, elsewhere each is printed."""
    console = terminal.output()
    pipeline: Pipeline | None = None
    with Live(console=console, auto_refresh=False, screen=True) if console.is_terminal else nullcontext() as live:
        try:
            while True:
                pipeline = await sources.look()
                shown = _framed(pipeline, wish, every)
                if live is None:
                    terminal.show(console, shown)
                else:
                    live.update(shown, refresh=True)
                await asyncio.sleep(every)
        except asyncio.CancelledError:
            return exit_code(pipeline, wish.vcenter) if pipeline is not None else EXIT_NOT_ASKED


def _framed(pipeline: Pipeline, wish: Wish, every: float) -> RenderableType:
    at = pipeline.at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Group(Text(f"{at}, every {every:g} s; Ctrl-C ends it", style="dim"), Text(), _shown(pipeline, wish), Text())


def _shown(pipeline: Pipeline, wish: Wish) -> RenderableType:
    vcenter = _found(pipeline, wish.vcenter)
    return screen.overview(pipeline) if vcenter is None else screen.detail(vcenter, pipeline)


def _document(pipeline: Pipeline, wish: Wish) -> str:
    vcenter = _found(pipeline, wish.vcenter)
    document = document_of(pipeline) if vcenter is None else vcenter_document(vcenter)
    if wish.format is Format.JSON:
        return json.dumps(document, indent=2) + "\n"
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _found(pipeline: Pipeline, name: str | None) -> VCenter | None:
    """Raises ConfigurationError where there is no such vCenter, as far as is known; None: all are meant."""
    if name is None:
        return None
    if pipeline.vcenters is None:
        raise ConfigurationError(f"vCenter {name}: VCenters could not be asked for: {pipeline.not_asked.get(RECORDS)}")
    if (vcenter := named(pipeline.vcenters, name)) is None:
        known = ", ".join(one.name for one in pipeline.vcenters) or "none"
        raise ConfigurationError(f"vCenter {name}: there is no such VCenter in this namespace; there are: {known}")
    return vcenter
