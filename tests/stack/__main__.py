"""``python -m tests.stack install|up|versions``: prepare the servers, run them for a person, or tell their versions."""

from __future__ import annotations

import argparse
import secrets
import shlex
import signal
import sys
import threading

from tests.stack import SERVERS, ServerUnavailable, Stack
from tests.stack.progress import say_on_stdout as say
from tests.stack.stack import required

VCENTERS = ("vc-a-0.cc.qa-de-1.cloud.sap", "vc-b-0.cc.qa-de-1.cloud.sap")


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status is 1 when a server that is required cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install or build what is missing")
    commands.add_parser("versions", help="the same, without a word about progress")
    up = commands.add_parser("up", help="run the servers until Ctrl-C, and print their endpoints")
    for each in commands.choices.values():
        each.add_argument("servers", nargs="*", metavar="SERVER", help=f"of {', '.join(SERVERS)} (default: all)")
    up.add_argument(
        "--vcenter",
        action="append",
        default=[],
        metavar="FQDN=PASSWORD",
        help=f"a vCenter to run, with the password of its account (default: {' and '.join(VCENTERS)})",
    )
    options = parser.parse_args(argv)
    chosen = options.servers or list(SERVERS)
    if unknown := set(chosen) - set(SERVERS):
        parser.error(f"not a server: {', '.join(sorted(unknown))}")
    if options.command == "up":
        return run(chosen, dict(entry.partition("=")[::2] for entry in options.vcenter))
    return prepare(chosen, quiet=options.command == "versions")


def prepare(servers: list[str], *, quiet: bool) -> int:
    """Install or build servers and print a table; 1 when one cannot be had that ``CI`` or the like requires."""
    stack = Stack((lambda line: None) if quiet else say)
    missing = 0
    rows = [("SERVER", "VERSION", "SOURCE")]
    try:
        for server in servers:
            try:
                rows.append((server, *stack.prepare(server)))
            except ServerUnavailable as error:
                missing += 1
                rows.append((server, "-", f"cannot be had: {error}"))
    finally:
        stack.close()
    for name, version, source in rows:
        say(f"{name:<12} {version:<34} {source}")
    if missing:
        say(f"!!! {missing} of {len(servers)} servers cannot be had here: the tests that need them will not run")
    return 1 if missing and required() else 0


def run(servers: list[str], vcenters: dict[str, str]) -> int:
    """Run servers until SIGINT or SIGTERM; what a shell needs to use them in tests is printed as exports."""
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    stack = Stack(say)
    try:
        exports = endpoints(stack, servers, vcenters or {fqdn: secrets.token_urlsafe(9) for fqdn in VCENTERS})
        say("\nrunning until Ctrl-C:")
        for served in stack.served:
            say(f"  {served.name:<16} {served.version:<34} {served.source}")
        say("")
        for name, value in exports.items():
            say(f"export {name}={shlex.quote(value)}")
        stop.wait()
        say("stopping ...")
    except ServerUnavailable as error:
        say(f"cannot be had: {error}")
        return 1
    finally:
        stack.close()
    return 0


def endpoints(stack: Stack, servers: list[str], vcenters: dict[str, str]) -> dict[str, str]:
    """Start the servers; the environment variables that let tests use them."""
    exports: dict[str, str] = {}
    if "rabbitmq" in servers:
        exports["VCO_TEST_AMQP_URL"] = stack.rabbitmq().url
    if "dns" in servers:
        knot = stack.dns()
        exports["VCO_TEST_DNS"] = f"{knot.address}:{knot.port}"
        exports["VCO_TEST_DNS_ZONE"] = knot.zone
        exports["VCO_TEST_TSIG_KEY"] = knot.tsig_key
    if "vcsim" in servers:
        started = [stack.start_vcsim(fqdn, password=password) for fqdn, password in vcenters.items()]
        for vcenter in started:
            say(f"{vcenter.fqdn}: user {vcenter.username}, password {vcenter.password}")
        exports["VCO_TEST_VCENTERS"] = ",".join(f"{v.fqdn}={v.address}:{v.port}" for v in started)
        exports["VCO_TEST_VCENTER_USER"] = stack.vcenter_username
        exports["VCO_TEST_VCENTER_CA"] = str(stack.ca.certificate)
    if "kubernetes" in servers:
        exports["VCO_TEST_KUBECONFIG"] = str(stack.kubernetes().kubeconfig)
    if "otelcol" in servers:
        exports["OTEL_EXPORTER_OTLP_ENDPOINT"] = stack.start_otelcol().endpoint
    return exports


if __name__ == "__main__":
    sys.exit(main())
