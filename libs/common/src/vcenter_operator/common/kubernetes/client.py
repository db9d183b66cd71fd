"""The connection to the API server, and what it tells about where the operator runs (contract: "Finding things")."""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yaml
from aiohttp.resolver import ThreadedResolver
from kubernetes_asyncio import config
from kubernetes_asyncio.client import ApiClient, Configuration
from yarl import URL

from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.settings import PREFIX, Settings
from vcenter_operator.common.surroundings import Surroundings
from vcenter_operator.common.telemetry import logger

log = logger(__name__)

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RESOLV_CONF = Path("/etc/resolv.conf")
NAMESPACE_OUTSIDE = "monsoon3"

_REGION = re.compile(r"[a-z]+-[a-z]+-\d")
_TLS_CLOSE_HANGS = sys.version_info < (3, 12, 8) or (3, 13, 0) <= sys.version_info < (3, 13, 1)
"""Mended by python/cpython#118960; aiohttp takes the option nowhere else."""
_READ_BUFFER = 2**21  # an object may have 1.5 MiB (etcd's limit), a line of a watch holds one


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[tuple[ApiClient, Surroundings]]:
    """A client for the API server, and the surroundings: in the cluster by its service account, else by kubeconfig.

    Nothing is asked of the server yet.

    Raises:
        ConfigurationError: there is neither, or the region or domain cannot be told.
    """
    configuration = Configuration()
    configuration.client_side_validation = False
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        surroundings = _inside(configuration, settings)
    else:
        surroundings = await _outside(configuration, settings)
    if not configuration.verify_ssl:
        log.warning("TLS of the API server is not verified: the kubeconfig says insecure-skip-tls-verify")
    log.info(
        "surroundings",
        server=configuration.host,
        own_namespace=surroundings.own_namespace,
        region=surroundings.region,
        domain=surroundings.domain,
    )
    _use_proxy(configuration)
    client = _PlainClient(configuration)
    client.user_agent = "vcenter-operator"
    await client.rest_client.close()
    client.rest_client.pool_manager = _session(configuration)
    try:
        yield client, surroundings
    finally:
        await client.close()


class _PlainClient(ApiClient):
    """Sends what it is given: that is plain JSON in every case, and need not be copied in search of anything else."""

    def sanitize_for_serialization(self, obj: Any) -> Any:
        """See `ApiClient`."""
        return obj


def _session(configuration: Configuration) -> aiohttp.ClientSession:
    """As the client makes it, but with the threaded resolver: where aiodns is installed, aiohttp would take that one
    and leak its channels. It does not trust the environment: before each request a thread would look for a ~/.netrc,
    which cost about as much as the rest of the request. Keep-alive ends connections whose other side is gone. A watch
    that is closed while the server hangs would wait for the other side's TLS close beyond the session's end, where
    Python has that defect.
    """
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        tls.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    connector = aiohttp.TCPConnector(
        limit=configuration.connection_pool_maxsize,
        ssl=tls,
        resolver=ThreadedResolver(),
        socket_factory=_kept_alive,
        enable_cleanup_closed=_TLS_CLOSE_HANGS,
    )
    return aiohttp.ClientSession(connector=connector, read_bufsize=_READ_BUFFER)


def _use_proxy(configuration: Configuration) -> None:
    """The one of the kubeconfig, or that the environment names (HTTPS_PROXY) unless it exempts the server (NO_PROXY).

    Its login goes apart from its URL, which errors repeat. Raises ConfigurationError: it is no URL.
    """
    named = configuration.proxy or _proxy_for(urlsplit(configuration.host or ""))
    if named is None:
        return
    try:
        proxy = URL(named)
        configuration.proxy = str(proxy.with_user(None))
        if proxy.user is not None:
            login = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
            configuration.proxy_headers = {"Proxy-Authorization": login}
    except ValueError:
        raise ConfigurationError(
            "the proxy for the API server (proxy-url of the kubeconfig, or HTTPS_PROXY) is no URL as http://user:password@host:port"
        ) from None


def _proxy_for(server: SplitResult) -> str | None:
    named = None if proxy_bypass(server.hostname or "") else getproxies().get(server.scheme)
    if named is None or "://" not in named:
        return named and f"http://{named}"
    if not named.lower().startswith("http://"):
        log.warning("the proxy that the environment names is not used: it has to be http://", server=server.hostname)
        return None
    return named


def _kept_alive(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 40_000)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def _inside(configuration: Configuration, settings: Settings) -> Surroundings:
    try:
        config.load_incluster_config(  # type: ignore[no-untyped-call]
            configuration,
            token_filename=str(SERVICE_ACCOUNT / "token"),
            cert_filename=str(SERVICE_ACCOUNT / "ca.crt"),
        )
    except config.ConfigException as error:
        raise ConfigurationError(f"service account in {SERVICE_ACCOUNT}: {error}") from None
    search = search_domain(RESOLV_CONF.read_text() if RESOLV_CONF.exists() else "")
    return Surroundings(
        own_namespace=settings.namespace or _own_namespace(),
        region=_second_label(search) or _second_label(settings.service_domain) or _no_region(f"{RESOLV_CONF} (search)"),
        domain=_domain(settings.service_domain or search or _no_domain()),
        incluster=True,
    )


async def _outside(configuration: Configuration, settings: Settings) -> Surroundings:
    path = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    try:
        _refuse_absent(path)
        await config.load_kube_config(config_file=path, client_configuration=configuration)
        context = config.list_kube_config_contexts(config_file=path)[1]
    except (config.ConfigException, OSError, TypeError, AssertionError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"kubeconfig {path}: {error or 'has no usable current context'} "
            "(outside a cluster, KUBECONFIG has to name a file with a current context)"
        ) from None
    cluster = str(context["context"]["cluster"]) if context else ""
    region = _REGION.search(cluster)
    return Surroundings(
        own_namespace=settings.namespace or NAMESPACE_OUTSIDE,
        region=region[0] if region else _second_label(settings.service_domain) or _no_region(f"cluster {cluster!r}"),
        domain=_domain(settings.service_domain or f"cc.{region[0] if region else ''}.cloud.sap"),
        incluster=False,
    )


def _refuse_absent(kubeconfig: str) -> None:
    if not any(Path(path).expanduser().exists() for path in kubeconfig.split(os.pathsep) if path):
        raise FileNotFoundError("does not exist")


def search_domain(resolv_conf: str) -> str | None:
    """The last search domain; of several `search` or `domain` lines the last counts (resolv.conf(5))."""
    found = None
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in ("search", "domain"):
            found = words[-1]
    return found


def _own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"own namespace: {SERVICE_ACCOUNT / 'namespace'}: {error.strerror}; set {PREFIX}NAMESPACE"
        ) from None


def _second_label(domain: str | None) -> str | None:
    labels = _domain(domain or "").split(".")
    return labels[1] if len(labels) > 1 else None


def _domain(text: str) -> str:
    return text.strip().rstrip(".").lower()


def _no_region(where: str) -> str:
    raise ConfigurationError(f"region: not to be found in {where}; set SERVICE_DOMAIN to cc.<region>.<domain>")


def _no_domain() -> str:
    raise ConfigurationError(f"domain: {RESOLV_CONF} has no search domain; set SERVICE_DOMAIN")
