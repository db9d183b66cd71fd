"""A session with one vCenter, as blocking calls for a thread of its own."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from xml.parsers.expat import ExpatError

from vcenter_operator.collector.adapters.connection import Line, WrongThumbprint, managed_type, stub, vim, vmodl
from vcenter_operator.collector.adapters.snapshot import (
    Answered,
    answered,
    describe,
    everything,
    reference,
    snapshot,
)
from vcenter_operator.collector.core.model import ABSENT, Answer, Reference, Snapshot, Unreadable
from vcenter_operator.collector.ports import (
    CertificateRefused,
    Credentials,
    LoginRefused,
    Malformed,
    NotAnswering,
    SessionEnded,
    Unreachable,
    VCenterError,
)

FAILURES = (OSError, http.client.HTTPException, ExpatError, vmodl.MethodFault)
"""What calls raise when something is wrong with the vCenter or the way to it; see `translated`."""

_ASKED_TOGETHER = 500
"""Managed objects in one question."""


class Session:
    """Logs on, reads, waits for changes. Every method blocks, and raises any of `FAILURES` or a VCenterError."""

    def __init__(self, line: Line, *, margin: float, page_size: int | None = None) -> None:
        """`margin`: seconds that an answer may come later than the vCenter was asked to wait, and that one to a

        greeting may take. `page_size`: objects an answer may hold; None leaves that to the vCenter.
        """
        self._line = line
        self._margin = margin
        self._read_timeout = line.read_timeout
        self._options = vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=page_size)
        self._stub = stub(line)
        self._content: Any = None
        self._updates: Any = None
        self._view: Any = None
        self._filter: Any = None
        self._version = ""
        self._logged_on = False

    def greet(self) -> None:
        """Asks what every vCenter answers to anybody, and soon."""
        self._line.read_timeout = self._margin
        try:
            self._content = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
        finally:
            self._line.read_timeout = self._read_timeout

    def log_on(self, credentials: Credentials) -> None:
        """Logs on and starts to watch for changes."""
        self.greet()
        try:
            self._content.sessionManager.Login(userName=credentials.username, password=credentials.password)
        except vim.fault.InvalidLogin:
            raise LoginRefused(f"it refuses user {credentials.username} or the password derived for it") from None
        except vim.fault.NoPermission as fault:
            raise LoginRefused(f"user {credentials.username} may not log on: {describe(fault)}") from None
        self._logged_on = True
        self._begin_to_watch()

    def resume(self) -> None:
        """Goes on in the same session, on a new connection where the line was cut.

        The call that was cut may be under way in the vCenter still, and be told of a change that nobody hears of: so
        with a property collector of its own.
        """
        self._mend()
        self._updates.Destroy()
        self._view.Destroy()
        self._begin_to_watch()

    def _begin_to_watch(self) -> None:
        self._updates = self._content.propertyCollector.CreatePropertyCollector()
        self._filter, self._version = None, ""
        self.watch_anew()

    def watch_anew(self) -> None:
        """A new view and a new filter in the place of those that there are, which the vCenter keeps current.

        The view shows what the account may see: it is made anew now and then, in case its rights were widened.
        """
        filtered, view = self._filter, self._view
        self._view = self._content.viewManager.CreateContainerView(
            container=self._content.rootFolder, type=[vim.ClusterComputeResource], recursive=True
        )
        self._filter = self._updates.CreateFilter(spec=everything(self._view), partialUpdates=True)
        if filtered is not None:
            filtered.Destroy()
            view.Destroy()
        self.wait(0)

    def snapshot(self) -> Snapshot:
        """One reading, through the session's view."""
        objects = self._retrieve(everything(self._view))
        return replace(snapshot(objects, self.ask), instance=self._content.about.instanceUuid or None)

    def ask(self, wanted: Sequence[Reference]) -> dict[Reference, Answer]:
        """The names of managed objects, by their own word: all in one call, and who is not in its answer alone.

        Only alone does one that is gone say so.
        """
        together: Answered = {}
        if len(wanted) > 1:
            for some in _chunks(wanted, _ASKED_TOGETHER):
                with suppress(vmodl.MethodFault):  # each has its own word, or the session is over
                    together |= self._retrieve(self._names(some))
        return {each: together[each].name() if each in together else self._ask_alone(each) for each in wanted}

    def _ask_alone(self, wanted: Reference) -> Answer:
        try:
            objects = self._retrieve(self._names([wanted], missing_is_an_error=True))
        except vmodl.fault.ManagedObjectNotFound as fault:
            # It may as well be the property collector of a session that is over that was not found.
            if reference(fault.obj) == wanted:
                return ABSENT
            raise
        except vim.fault.NotAuthenticated:
            raise
        except vmodl.MethodFault as fault:
            return Unreadable(describe(fault))
        return objects[wanted].name() if wanted in objects else Unreadable("it was not answered")

    def _names(self, wanted: Sequence[Reference], *, missing_is_an_error: bool = False) -> Any:
        collector = vmodl.query.PropertyCollector
        kinds = {each.kind: managed_type("urn:vim25", each.kind) for each in wanted}
        return collector.FilterSpec(
            objectSet=[
                collector.ObjectSpec(obj=kinds[each.kind](each.moid, self._stub), skip=False) for each in wanted
            ],
            propSet=[collector.PropertySpec(type=kind, all=False, pathSet=["name"]) for kind in kinds.values()],
            reportMissingObjectsInResults=not missing_is_an_error,
        )

    def _retrieve(self, spec: Any) -> Answered:
        """All pages of the answer."""
        collector = self._content.propertyCollector
        result = collector.RetrievePropertiesEx(specSet=[spec], options=self._options)
        contents = []
        while result is not None:
            contents += result.objects
            result = collector.ContinueRetrievePropertiesEx(token=result.token) if result.token else None
        return answered(contents)

    def wait(self, seconds: int) -> bool:
        """Whether a change is reported within that time. The first call for a filter reports all there is, at once."""
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=seconds)
        self._line.read_timeout = seconds + self._margin
        try:
            changed = False
            while update := self._updates.WaitForUpdatesEx(version=self._version, options=options):
                self._version, changed = update.version, True
                if not update.truncated:
                    break
            return changed
        finally:
            self._line.read_timeout = self._read_timeout

    def log_out(self, timeout: float) -> None:
        """Ends the session, and with it all that was made in it, and closes the connection. Raises nothing."""
        self._mend()
        self._line.connect_timeout = self._line.read_timeout = timeout
        try:
            if self._logged_on:
                with suppress(Exception):  # it may be rubbish that it answers
                    self._content.sessionManager.Logout()
        finally:
            self._logged_on = False
            self._stub.DropConnections()

    def _mend(self) -> None:
        if self._line.mend():
            self._stub.DropConnections()  # what was cut may have ended just before, and left its connection for reuse


def _chunks(wanted: Sequence[Reference], size: int) -> Iterator[Sequence[Reference]]:
    for start in range(0, len(wanted), size):
        yield wanted[start : start + size]


def translated(error: Exception) -> VCenterError:
    """Whatever a call raised as an error of the port. PyVmomi raises anything at all where it is told rubbish."""
    match error:
        case ssl.SSLCertVerificationError():
            return CertificateRefused(f"its certificate is refused: {error.verify_message}")
        case WrongThumbprint():
            return CertificateRefused(f"its certificate is refused: {error}")
        case TimeoutError():
            return NotAnswering("it did not answer in time")
        case OSError() | http.client.HTTPException():
            return Unreachable(str(error.strerror if isinstance(error, OSError) and error.strerror else error))
        case vim.fault.NotAuthenticated():
            return SessionEnded("the session is not valid any more")
        case vmodl.MethodFault():
            return VCenterError(describe(error))
        case _:
            return Malformed(f"it did not answer in SOAP: {type(error).__name__}: {error}")
