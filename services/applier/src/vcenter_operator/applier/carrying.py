"""A plan carried out for a vCenter: manifests opened, objects written, the outcome taken over into its state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from vcenter_operator.applier.acting import Acting, Result
from vcenter_operator.applier.core.decisions import Change, Plan, Refusal
from vcenter_operator.applier.core.describe import describe_object
from vcenter_operator.applier.core.observed import Observed
from vcenter_operator.applier.places import Places
from vcenter_operator.applier.ports import Cluster, Freeze, Guard
from vcenter_operator.applier.state import VCenterState
from vcenter_operator.common import labels
from vcenter_operator.common.configuration import ConfigurationSource
from vcenter_operator.common.errors import ConfigurationError, PermanentError, TransientError
from vcenter_operator.common.identity import ObjectId
from vcenter_operator.common.record.port import OK
from vcenter_operator.common.sealing import Keyring
from vcenter_operator.common.telemetry import logger

log = logger(__name__)


class Carrying:
    """Shared by all vCenters of a process: its places bound how many objects are written at once."""

    def __init__(
        self,
        configuration: ConfigurationSource,
        cluster: Cluster,
        freeze: Freeze,
        *,
        concurrency: int,
        try_refused_after: float,
    ) -> None:
        self._configuration = configuration
        self._cluster = cluster
        self._freeze = freeze
        self._places = Places(concurrency)
        self._try_refused_after = try_refused_after

    async def carry_out(self, state: VCenterState, intended: Plan) -> Result:
        """Everything in the plan, as far as it can be done. Raises TransientError: there is no key."""
        assert state.holdings is not None
        keyring = await self._keyring() if intended.creates or intended.updates else None
        acting = self._acting(state, lambda change: self._manifest(state, change, keyring))
        async with self._freeze.attended():
            result = await acting.carry_out(intended, state.holdings)
        state.holdings = result.holdings
        gone = [removal.current for removal in (*result.deleted, *result.handed_over)]
        state.own([*result.created, *result.updated], gone)
        self._remember_fields(state, [*result.created, *result.updated])
        self._remember_refusals(state, intended, result)
        if result.stopped is None:
            going_on = [failure.id for failure in result.failed] + result.undone
            await self.narrow(state, going_on + [left.id for left in intended.contested])
        return result

    async def check(
        self, state: VCenterState, changes: Sequence[Change]
    ) -> tuple[dict[ObjectId, str], TransientError | None]:
        """What the server says to each without anything being written: `ok`, or what it refuses; and why one has no

        answer. Raises TransientError.
        """
        keyring = await self._keyring()
        await self._freeze.look()
        said: dict[ObjectId, str] = {}
        failed: list[TransientError] = []

        async def ask(change: Change) -> None:
            async with self._places.taken(state.host):
                try:
                    manifest = self._manifest(state, change, keyring)
                    await self._cluster.check(state.host, change.id, manifest, change.current, self._guard(state))
                    said[change.id] = OK
                except PermanentError as error:
                    said[change.id] = str(error)
                except TransientError as error:
                    failed.append(error)

        async with asyncio.TaskGroup() as group:
            for change in changes:
                group.create_task(ask(change))
        return said, failed[0] if failed else None

    async def narrow(self, state: VCenterState, kept: list[ObjectId]) -> None:
        """A parent that names too much costs a list or two, no more: that this fails does not make the work fail."""
        assert state.holdings is not None
        try:
            acting = self._acting(state, lambda change: self._manifest(state, change, None))
            state.holdings = await acting.narrow(state.host, state.holdings, kept)
        except (TransientError, PermanentError) as error:
            log.info("ApplySet not narrowed", vcenter=state.host, error=str(error))

    async def _keyring(self) -> Keyring:
        try:
            return (await self._configuration.current()).keyring
        except ConfigurationError as error:
            raise TransientError(f"manifests cannot be opened until the Secret is mended: {error}") from None

    def _acting(self, state: VCenterState, manifest_of: Callable[[Change], dict[str, Any]]) -> Acting:
        return Acting(
            self._cluster,
            lambda: self._places.taken(state.host),
            self._guard(state),
            manifest_of,
        )

    def _guard(self, state: VCenterState) -> Guard:
        def guard() -> None:
            state.ownership.verify()
            self._freeze.check()

        return guard

    def _manifest(self, state: VCenterState, change: Change, keyring: Keyring | None) -> dict[str, Any]:
        """The manifest of a change with the annotations that the applier adds. Raises PermanentError."""
        assert state.delta is not None
        assert keyring is not None
        digest, sealed = state.bodies[change.id]
        manifest = keyring.open(state.host, change.id, digest, sealed)
        metadata = {**manifest["metadata"]}
        metadata["annotations"] = {
            **metadata.get("annotations", {}),
            labels.DIGEST: digest,
            labels.REVISION: str(state.delta.provenance.inventory),
        }
        return {**manifest, "metadata": metadata}

    def _remember_fields(self, state: VCenterState, written: Sequence[Observed]) -> None:
        now = time.monotonic()
        for one in written:
            times = state.drift.wrote(one, edited=one.id in state.edited, now=now)
            if times:
                log.warning("undone by others: put right", object=describe_object(one.id), in_a_row=times)

    def _remember_refusals(self, state: VCenterState, intended: Plan, result: Result) -> None:
        digests = {change.id: change.digest for change in (*intended.creates, *intended.updates)}
        until = time.monotonic() + self._try_refused_after
        for failure in result.failed:
            if failure.permanent and failure.id in digests:
                state.refused[failure.id] = Refusal(digests[failure.id], failure.error), until
