"""One plain connection to RabbitMQ, and its replacement when it is lost.

Plain, not robust: what a connection held (locks, consumers, deliveries) is gone with it, and the code above has to
act on that at once instead of being shown the same objects again.

Timing, for a `heartbeat` of H seconds in the settings: h = max(1, H // 2) is negotiated with the broker. A broker
checks every h seconds whether anything came, and closes the connection after two checks in a row without: between 2h
and 3h after the last sign (`rabbit_heartbeat.erl`; measured by the integration tests). So a silent replica loses its
partitions within 3h <= 1.5 H, and never before 2h. An ownership counts as valid for 1.5 h after the *sending* of the
last question that the broker answered: half a heartbeat is left for what had been verified just before.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import pamqp.exceptions
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError, AuthenticationError, InvalidFrameError, ProbableAuthenticationError
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tenacity.stop import stop_after_delay, stop_never
from yarl import URL

from vcenter_operator.common import metrics
from vcenter_operator.common.errors import BusUnavailable, ConfigurationError, OperatorError, TransientError
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

ANSWER_WITHIN = 10.0
"""Seconds that the broker has for answering anything."""
_CONNECT_WITHIN = 10.0
_CLOSE_WITHIN = 3.0
_RECONNECT_EVERY = 5.0
"""Seconds between two attempts, at most."""
_STABLE = 10.0
"""Seconds after which a connection that is lost had been a good one."""

_WHERE = "VCENTER_OPERATOR_BUS, or bus_url in the Secret"
"""Where the URL comes from."""

_FAILURES = (AMQPError, OSError, RuntimeError, TimeoutError, EOFError, pamqp.exceptions.PAMQPException)
"""What aio-pika raises where the broker, the connection or the channel is gone."""


@asynccontextmanager
async def answered(what: str, within: float = ANSWER_WITHIN) -> AsyncIterator[None]:
    """Everything that is asked of the broker is asked in here: bounded in time, and its failure is BusUnavailable."""
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        async with asyncio.timeout(within):
            yield
    except asyncio.CancelledError:
        # aiormq cancels what waits on a channel that dies; only a cancellation that was meant for us is one.
        if task is None or task.cancelling() > cancelled_before:
            raise
        raise BusUnavailable(f"{what}: the connection was lost") from None
    except TimeoutError:
        raise BusUnavailable(f"{what}: no answer from the broker within {within:g} s") from None
    except _FAILURES as error:
        raise BusUnavailable(f"{what}: {_text(error)}") from error


@dataclass(frozen=True)
class Tls:
    """Files (PEM) for amqps. They are read for each connection, so that renewed ones count without a restart."""

    ca: Path | None = None
    """Authorities to trust; None: the system's."""
    certificate: Path | None = None
    """The client's own, with its chain; None: it shows none."""
    key: Path | None = None
    """Its private key; None: it is in the same file."""

    def context(self) -> ssl.SSLContext:
        """Verifies the broker. Raises ConfigurationError."""
        reading = ("VCENTER_OPERATOR_BUS_CA", self.ca)
        try:
            context = ssl.create_default_context(cafile=self.ca)
            reading = ("VCENTER_OPERATOR_BUS_CERTIFICATE", self.certificate)
            if self.certificate is not None:
                # A key with a passphrase is refused, rather than asked for on the terminal.
                context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"{reading[0]}: {reading[1]}: {error}") from None
        return context


@dataclass(frozen=True)
class Endpoint:
    """Where the broker is, and how to get in. Its text has no password."""

    url: URL
    heartbeat: int
    tls: Tls | None = None

    @classmethod
    def parse(
        cls, url: str, heartbeat: int, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
    ) -> Endpoint:
        """From settings; amqps is always verified, see `Tls` for the files.

        Where there is a client certificate and the URL names no user, the certificate's user is logged in (EXTERNAL).

        Raises:
            ConfigurationError: without repeating the URL, which has a password in it.
        """
        try:
            parsed = URL(url)
            complete = parsed.scheme in ("amqp", "amqps") and parsed.host and parsed.port != 0
        except ValueError:
            complete = None
        if not complete:
            raise ConfigurationError(f"{_WHERE}: expected amqp://user:password@host:port/vhost, or amqps://")
        tls = Tls(ca, certificate, key) if parsed.scheme == "amqps" else None
        if tls is not None:
            tls.context()
        elif certificate is not None:
            raise ConfigurationError(f"{_WHERE}: a client certificate needs amqps://")
        negotiated = max(1, heartbeat // 2)
        mechanism = {"auth": "external"} if certificate is not None and parsed.user is None else {}
        return cls(parsed.with_query({"heartbeat": str(negotiated), **mechanism}), negotiated, tls)

    def __str__(self) -> str:
        return str(self.url.with_user(None).with_query(None))

    def __repr__(self) -> str:
        return f"Endpoint({self})"

    @property
    def valid_for(self) -> float:
        """Seconds that an ownership may be relied on after the last question that the broker answered."""
        return 1.5 * self.heartbeat

    async def open(self, name: str) -> Link:
        """A new connection, called `name` in the broker's management.

        Raises:
            BusUnavailable: the broker cannot be reached.
            ConfigurationError: it refuses user or password, or its certificate is not to be trusted.
        """
        transport = _Transport(TLSTransportFactory() if self.tls else TCPTransportFactory())
        connection = aio_pika.Connection(
            self.url,
            ssl_context=self.tls.context() if self.tls else None,
            client_properties={"connection_name": name, "product": "vcenter-operator"},
        )
        connection.kwargs["transport_factory"] = transport
        link = Link(connection, transport)
        try:
            async with answered(str(self), _CONNECT_WITHIN):
                await connection.connect()
        except BaseException as error:
            link.abort()
            await link.close()
            if isinstance(error, BusUnavailable) and (reason := self._refused(error.__cause__)):
                raise ConfigurationError(f"{_WHERE}: {self}: {reason}") from None
            raise
        return link

    @asynccontextmanager
    async def linked(self, purpose: str) -> AsyncIterator[Link]:
        """A connection for a while, named after this process and what it is for. Raises as `open` does."""
        link = await self.open(f"{socket.gethostname()}/{os.getpid()} {purpose}")
        try:
            yield link
        finally:
            await link.close()

    def _refused(self, error: BaseException | None) -> str | None:
        """Why trying again does not help, if so."""
        if isinstance(error, ProbableAuthenticationError | AuthenticationError):
            return "client certificate refused" if "auth" in self.url.query else "user or password refused"
        if isinstance(error, AMQPError) and isinstance(error.__cause__, ssl.SSLCertVerificationError):
            return f"certificate not trusted: {error.__cause__.verify_message}"
        return None


class Link:
    """An open connection. `lost` is set when it is no more, whatever the reason."""

    def __init__(self, connection: aio_pika.Connection, transport: _Transport) -> None:
        self.lost = asyncio.Event()
        self._connection = connection
        self._transport = transport
        connection.close_callbacks.add(lambda *_: self.lost.set())

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """A new channel; with confirms, what cannot be routed raises. Raises BusUnavailable."""
        async with answered("opening a channel"):
            channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
            await channel.initialize()
            return channel

    async def writable(self) -> None:
        """Returns when the broker reads what is sent; under an alarm it does not, and says so."""
        if (transport := self._connection.transport) is not None:
            await transport.connection.ready()

    def abort(self) -> None:
        """Cuts it, without a word to the broker: for one that does not answer."""
        self.lost.set()
        self._transport.abort()

    async def close(self) -> None:
        """Closes it in good order, or cuts it after a while. Never raises."""
        self.lost.set()
        with suppress(*_FAILURES):
            async with asyncio.timeout(_CLOSE_WITHIN):
                await self._connection.close()
        self._transport.abort()


class _Transport(TransportFactory):
    """Keeps hold of the socket, so that it can be cut."""

    def __init__(self, factory: TransportFactory) -> None:
        self._factory = factory
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._factory.create(url, **kwargs)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def first_contact(endpoint: Endpoint, name: str, use: Callable[[Link], Awaitable[None]], within: float) -> None:
    """Uses a connection once, trying for `within` seconds to get one.

    Raises:
        BusUnavailable: there was none.
        ConfigurationError: at once, since trying again would not help.
    """
    attempts = _attempts(TransientError, stop=stop_after_delay(within))
    await attempts(_session, endpoint, name, use)


async def keep_connected(endpoint: Endpoint, name: str, use: Callable[[Link], Awaitable[None]]) -> None:
    """Uses a connection, and another one whenever it is lost, until cancelled.

    `use` raises BusUnavailable on a loss. Attempts are spaced by a random, growing time; one that lasted starts anew.
    """

    async def session() -> None:
        began = time.monotonic()
        try:
            await _session(endpoint, name, use)
        except OperatorError as error:
            if time.monotonic() - began < _STABLE:
                raise
            log.warning("lost the broker", connection=name, error=str(error))

    while True:
        await _attempts(OperatorError, stop=stop_never)(session)
        await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter, no secret


def _attempts(kind: type[OperatorError], **options: Any) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(kind),
        wait=wait_random_exponential(multiplier=0.2, max=_RECONNECT_EVERY),
        before_sleep=_log_attempt,
        reraise=True,
        **options,
    )


def _log_attempt(state: RetryCallState) -> None:
    """The first, second, fourth, eighth ... in a row."""
    if state.attempt_number & (state.attempt_number - 1):
        return
    error = state.outcome.exception() if state.outcome else None
    pause = round(state.upcoming_sleep, 2)
    log.warning("no connection to the broker", error=str(error), attempts=state.attempt_number, pause=pause)


async def _session(endpoint: Endpoint, name: str, use: Callable[[Link], Awaitable[None]]) -> None:
    link = await endpoint.open(name)
    try:
        await use(link)
    except OperatorError:
        metrics.BUS_CONNECTIONS_LOST.inc()
        raise
    finally:
        await link.close()


def _text(error: BaseException) -> str:
    if isinstance(error, InvalidFrameError) and "OpenOk" in str(error):
        return "the vhost cannot be opened: it is missing, not for this user, or full"
    return str(error) or type(error).__name__
