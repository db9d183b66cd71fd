"""Composes the applier: on Kubernetes, or on a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from vcenter_operator.applier.adapters.embedded import DryRunFolder, FileFreeze, FolderCluster
from vcenter_operator.applier.adapters.unfrozen import NeverFrozen
from vcenter_operator.applier.core.budget import Budget
from vcenter_operator.applier.core.decisions import Policy
from vcenter_operator.applier.ports import Cluster, Freeze, OnAnswer, OnPlan
from vcenter_operator.applier.service import ApplierService
from vcenter_operator.applier.settings import ApplierSettings
from vcenter_operator.common.platform import Platform


@asynccontextmanager
async def on_kubernetes(
    settings: ApplierSettings, platform: Platform, *, on_plan: OnPlan | None = None, on_answer: OnAnswer | None = None
) -> AsyncIterator[ApplierService]:
    """Writes to the API server; in a dry run every write is sent with `dryRun=All`, and answers go to `on_answer`.

    A dry run shows what adopting the deployed operator's objects would come to, before anybody says that it may be.
    """
    from vcenter_operator.applier.adapters.kubernetes import (  # noqa: PLC0415 - not needed where there is no API server
        ConfigMapFreeze,
        DryRunCluster,
        KubernetesCluster,
    )
    from vcenter_operator.common.kubernetes.api import Api  # noqa: PLC0415
    from vcenter_operator.common.kubernetes.record import KubernetesStore  # noqa: PLC0415

    assert platform.kubernetes is not None
    api = Api(platform.kubernetes, timeout=settings.request_timeout)
    own_namespace = platform.surroundings.own_namespace
    await platform.require_keys()
    if platform.dry_run:
        dry = DryRunCluster(api, own_namespace, concurrency=settings.concurrency, on_answer=on_answer)
        yield _service(settings.model_copy(update={"adopt": True}), platform, dry, NeverFrozen(), on_plan)
        return
    assert isinstance(platform.store, KubernetesStore)
    async with (
        platform.store.following() as records,
        KubernetesCluster(api, own_namespace, concurrency=settings.concurrency, records=records).watching(
            platform.kubernetes
        ) as cluster,
        ConfigMapFreeze.watching(platform.kubernetes, own_namespace) as freeze,
    ):
        yield _service(settings, platform, cluster, freeze, on_plan)


@asynccontextmanager
async def embedded(
    settings: ApplierSettings, platform: Platform, *, on_plan: OnPlan | None = None, on_answer: OnAnswer | None = None
) -> AsyncIterator[ApplierService]:
    """Writes to the platform's output folder; without one, or in a dry run, it plans and writes nothing."""
    output = None if platform.dry_run else platform.output
    own_namespace = platform.surroundings.own_namespace
    cluster = (
        FolderCluster(output, own_namespace) if output else DryRunFolder(platform.output, own_namespace, on_answer)
    )
    await platform.require_keys()
    yield _service(settings, platform, cluster, FileFreeze(output) if output else NeverFrozen(), on_plan)


def policy_of(settings: ApplierSettings) -> Policy:
    """What may be decided without asking."""
    return Policy(
        name=settings.policy,
        when_gone=settings.gone_policy,
        gone_after=timedelta(seconds=settings.gone_after),
        budget=Budget(share=settings.deletion_share, count=settings.deletion_count),
        cluster_scoped=settings.cluster_scoped_kinds,
        adopt=settings.adopt,
    )


def _service(
    settings: ApplierSettings, platform: Platform, cluster: Cluster, freeze: Freeze, on_plan: OnPlan | None
) -> ApplierService:
    return ApplierService(
        platform.bus,
        platform.store,
        platform.configuration,
        cluster,
        freeze,
        policy=policy_of(settings),
        concurrency=settings.concurrency,
        look_every=settings.look_every,
        relist_every=settings.relist_every,
        try_refused_after=settings.try_refused_after,
        available_for=settings.available_for,
        on_plan=on_plan,
    )
