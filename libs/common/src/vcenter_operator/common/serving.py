"""What a process answers over HTTP: `/healthz` and `/readyz` for its supervisor, `/metrics` for Prometheus, and
`/log-level`, which can be changed while it runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from vcenter_operator.common import metrics, telemetry
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.health import Health

if TYPE_CHECKING:
    from aiohttp import web

log = telemetry.logger(__name__)

_LARGEST = 1024
"""Bytes of a request's body."""
_OWN_HOST = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
"""Exactly these: proxies of service meshes pass on what comes from elsewhere under other addresses of 127/8."""


@asynccontextmanager
async def served(port: int | None, *, probe_every: float) -> AsyncIterator[Health]:
    """Answers on `port` inside the `with` block; nowhere where it is None. Yields what the health is told by.

    `probe_every`: see `Health`. Raises ConfigurationError where the port is taken.
    """
    health = Health(probe_every)
    if port is None:
        yield health
        return
    from aiohttp import web  # noqa: PLC0415 - slow to import, and needed here alone
    from prometheus_client.aiohttp import make_aiohttp_handler  # noqa: PLC0415

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(health.look())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict([] if health.ready else ["not connected"])

    server = web.Application(client_max_size=_LARGEST)
    server.add_routes(
        [
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", make_aiohttp_handler()),
            web.get("/log-level", _log_level),
            web.put("/log-level", _change_log_level),
        ]
    )
    with metrics.BUS_CONNECTED.of(lambda: [((), float(health.ready))]):
        async with health.watched(), _listening(web.AppRunner(server, access_log=None), port):
            yield health


@asynccontextmanager
async def _listening(runner: web.AppRunner, port: int) -> AsyncIterator[None]:
    from aiohttp import web  # noqa: PLC0415 - see `served`

    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, port=port).start()
        except OSError as error:
            raise ConfigurationError(f"VCENTER_OPERATOR_PROBE_PORT: {port}: {error.strerror}") from None
        yield
    finally:
        await runner.cleanup()


async def _log_level(_: web.Request) -> web.Response:
    return _text(telemetry.level())


async def _change_log_level(request: web.Request) -> web.Response:
    """For whoever is let into the process's own network namespace: `kubectl port-forward` or `exec` asks the API
    server's leave for that. Whoever reaches the port from elsewhere may look, and not fill the log.
    """
    if request.remote not in _OWN_HOST:
        return _text("only from the process's own host: kubectl port-forward", status=403)
    wanted = (await request.text()).strip().upper()
    level = next((each for each in telemetry.LEVELS if each == wanted), None)
    if level is None:
        return _text(f"not a level; these are: {', '.join(telemetry.LEVELS)}", status=400)
    before = telemetry.level()
    telemetry.set_level(level)
    log.warning("log level changed", before=before, now=telemetry.level())
    return _text(telemetry.level())


def _verdict(problems: list[str]) -> web.Response:
    return _text("\n".join(problems or ["ok"]), status=503 if problems else 200)


def _text(text: str, *, status: int = 200) -> web.Response:
    from aiohttp import web  # noqa: PLC0415 - see `served`

    return web.Response(status=status, text=f"{text}\n")
