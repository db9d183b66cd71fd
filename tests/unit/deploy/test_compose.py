"""docker-compose.yml and what lies around it say the same: addresses, keys, passwords, images."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import dns.zone
import pytest
import yaml

from examples.compose import region
from examples.compose.certificates import certify
from examples.compose.seed import objects
from vcenter_operator.common.embedded.site import read_site
from vcenter_operator.common.masterpassword import derive_password
from vcenter_operator.common.messages import Stage

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SITE = read_site(region.SITE)
KNOT = (ROOT / "deploy" / "compose" / "knot.conf").read_text()


def address(service: str) -> str:
    return str(SERVICES[service]["networks"]["default"]["ipv4_address"])


@pytest.mark.parametrize("service", [*Stage, "command"])
def test_what_is_ours_may_change_nothing_of_its_machine(service: str) -> None:
    found = SERVICES[service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert not {"user", "privileged", "cap_add", "ports"} & found.keys()
    assert found["image"] == ("vcenter-operator" if service == "command" else f"vcenter-operator-{service}")


@pytest.mark.parametrize("host", SITE.vcenters)
def test_a_vcenter_is_where_the_zone_says_and_lets_the_derived_password_in(host: str) -> None:
    short = host.partition(".")[0]
    zone = dns.zone.from_file(str(SITE.zone), relativize=False, check_origin=False)
    name = dns.name.from_text(host)
    while (alias := zone.get_rdataset(name, "CNAME")) is not None:
        name = alias[0].target
    found = zone.get_rdataset(name, "A")
    assert found is not None
    assert address(short) == found[0].address
    assert SERVICES[short]["networks"]["default"]["aliases"] == [host]
    secret = next(each for each in objects() if each["kind"] == "Secret")["stringData"]
    command = SERVICES[short]["command"]
    given = dict(zip(command[::2], command[1::2], strict=True))
    assert given["-username"] == secret["username"]
    assert given["-password"].replace("$$", "$") == derive_password(secret["username"], secret["password"], host)


def test_the_dns_server_and_the_operator_know_each_other() -> None:
    secret = next(each for each in objects() if each["kind"] == "Secret")["stringData"]
    assert secret["dns_ip"] == address("dns")
    assert f"secret: {secret['tsig_key']}\n" in KNOT
    port = SERVICES["discovery"]["environment"]["VCENTER_OPERATOR_NOTIFY_PORT"]
    assert f"address: {address('discovery')}@{port}\n" in KNOT
    assert f"domain: {SITE.domain}\n" in KNOT
    assert SERVICES["discovery"]["environment"]["SERVICE_DOMAIN"] == SITE.domain


def test_images_of_others_can_be_substituted() -> None:
    images = {service["image"] for name, service in SERVICES.items() if not service["image"].startswith("vcenter-")}
    variables = {re.fullmatch(r"\$\{(\w+):-[\w/.:-]+}", image)[1] for image in images}  # type: ignore[index]
    substituted = (ROOT / "deploy" / "compose" / "substitutes" / "env").read_text()
    assert variables | {"PYTHON_IMAGE"} == set(re.findall(r"^(\w+)=", substituted, re.MULTILINE))


def test_the_base_image_is_named_once() -> None:
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert default is not None
    assert COMPOSE["x-arguments"]["PYTHON_IMAGE"] == f"${{PYTHON_IMAGE:-{default[1]}}}"


def test_certificates_are_what_a_client_verifies(tmp_path: Path) -> None:
    host = "vc-a-0.cc.qa-de-1.cloud.sap"
    certify(tmp_path, [host])
    assert (tmp_path / "vc-a-0.key").stat().st_mode & 0o077 == 0
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "vc-a-0.pem", tmp_path / "vc-a-0.key")
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=lambda: server.wrap_socket(theirs, server_side=True).close())
    serving.start()
    client = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with ours, client.wrap_socket(ours, server_hostname=host) as connection:
        assert connection.version() == "TLSv1.3"
    serving.join(10)
