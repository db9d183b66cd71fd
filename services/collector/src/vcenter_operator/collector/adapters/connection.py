"""The connection to one vCenter: to the address that the zone states, verified for its FQDN."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

import pyVmomi

from vcenter_operator.collector.metrics import SOAP
from vcenter_operator.collector.ports import Endpoint
from vcenter_operator.common import thumbprints
from vcenter_operator.common.metrics import timed

_library: Any = pyVmomi
vim, vmodl = _library.vim, _library.vmodl
managed_type = _library.VmomiSupport.GetWsdlType

API_VERSION = "vim.version.version9"
"""vSphere API 5.5, which has all that is read here and which every later vCenter speaks."""


_LONGEST_ANSWER = 64 * 2**20
"""Bytes: far more than an inventory takes, and what one that never ends may cost."""


class WrongThumbprint(OSError):
    """The certificate is none of those that are pinned."""


class Line:
    """Opens connections to one vCenter, one at a time, and can cut the current one from another thread.

    `connect_timeout` (seconds) is for each address, TLS included; `read_timeout` for each answer.
    """

    def __init__(
        self, endpoint: Endpoint, port: int, context: ssl.SSLContext, *, connect_timeout: float, read_timeout: float
    ) -> None:
        self.endpoint = endpoint
        self.port = port
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self._context = tls_context(None, verify=False) if endpoint.thumbprints else context
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._is_cut = False

    def open(self) -> ssl.SSLSocket:
        """A verified connection to the first address that takes it. Raises OSError."""
        failure: OSError = OSError(f"{self.endpoint.host} has no address")
        for address in self.endpoint.addresses or (self.endpoint.host,):
            try:
                return self._open(address)
            except OSError as error:
                failure = error
        raise failure

    def cut(self) -> None:
        """Makes whatever uses the line fail at once, and go on failing until `mend`."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                # Not SSLSocket's own shutdown: that one also takes the TLS object away under the reading thread.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def mend(self) -> bool:
        """Lets it be used again. Whether it was cut: its connection is dead then."""
        with self._lock:
            was_cut, self._is_cut = self._is_cut, False
        return was_cut

    def _open(self, address: str) -> ssl.SSLSocket:
        plain = socket.create_connection((address, self.port), timeout=self.connect_timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = self._context.wrap_socket(
                plain, server_hostname=self.endpoint.host, do_handshake_on_connect=False
            )
        except BaseException:
            plain.close()
            raise
        try:
            self._hold(secured)
            secured.do_handshake()
            self._check_thumbprint(secured)
            secured.settimeout(self.read_timeout)
        except BaseException:
            secured.close()
            raise
        return secured

    def _check_thumbprint(self, secured: ssl.SSLSocket) -> None:
        """Before anything is said: a pinned certificate takes the place of the CAs."""
        if not self.endpoint.thumbprints:
            return
        actual = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
        if actual not in self.endpoint.thumbprints:
            expected = " or ".join(sorted(map(thumbprints.shown, self.endpoint.thumbprints)))
            raise WrongThumbprint(f"its SHA-256 thumbprint is {thumbprints.shown(actual)}, and {expected} is pinned")

    def _hold(self, opened: socket.socket) -> None:
        with self._lock:
            if self._is_cut:
                raise ConnectionAbortedError("given up meanwhile")
            self._socket = opened


class _Answer(http.client.HTTPResponse):
    """An answer that is not read for ever."""

    _taken = 0

    def read(self, amt: int | None = None) -> bytes:
        data = super().read(amt)
        self._taken += len(data)
        if self._taken > _LONGEST_ANSWER:
            raise http.client.HTTPException(f"its answer is longer than {_LONGEST_ANSWER // 2**20} MiB")
        return data


class _Connection(http.client.HTTPConnection):
    default_port = http.client.HTTPS_PORT
    response_class = _Answer

    def __init__(self, line: Line) -> None:
        super().__init__(line.endpoint.host, line.port)
        self._line = line

    def connect(self) -> None:
        self.sock = self._line.open()

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self._line.read_timeout)
        super().request(*args, **kwargs)


class _Stub(_library.SoapStubAdapter):  # type: ignore[misc]
    """PyVmomi's, with its calls counted."""

    def InvokeMethod(self, mo: Any, info: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - overridden
        with timed(SOAP, info.wsdlName, _outcome_of):
            return super().InvokeMethod(mo, info, *args, **kwargs)


def _outcome_of(error: Exception) -> str:
    return "fault" if isinstance(error, vmodl.MethodFault) else "failed"


def stub(line: Line) -> Any:
    """PyVmomi's SOAP over a `Line`. Never through its `SmartConnect`, which keeps a session for the whole process."""
    adapter = _Stub(
        host=line.endpoint.host,
        port=line.port,
        version=API_VERSION,
        poolSize=1,
        acceptCompressedResponses=False,  # what is counted is what has to be held
    )
    adapter.scheme = lambda **_: _Connection(line)
    adapter.schemeArgs = {}
    return adapter


def tls_context(ca: str | None, *, verify: bool = True) -> ssl.SSLContext:
    """For connections to vCenters. Raises OSError where `ca` (a PEM bundle; None: the system's) cannot be used."""
    if verify:
        return ssl.create_default_context(cafile=ca)
    # Without the CAs, which are of no use then: loading them takes 20 ms, for each connection to a pinned vCenter.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
