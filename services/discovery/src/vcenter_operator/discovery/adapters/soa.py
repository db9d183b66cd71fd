"""Asking for the SOA serial: cheap, and the only question while nothing changes."""

from __future__ import annotations

import base64
import binascii
import socket
from typing import Any

import aiodns
import dns.asyncbackend
import dns.asyncquery
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.tsig
import pycares

from vcenter_operator.discovery.adapters.failures import SIGNATURE, Refused
from vcenter_operator.discovery.ports import Access, Server, ZoneUnavailable

KEY_NAME = "tsig-key"
KEY_ALGORITHM = dns.tsig.HMAC_SHA256


def signing_key(tsig_key: str) -> dns.tsig.Key:
    """The TSIG key (RFC 8945) of the contract from the Secret's `tsig_key`. Raises ZoneUnavailable."""
    try:
        secret = base64.b64decode(tsig_key.strip(), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not secret:
        raise ZoneUnavailable(SIGNATURE, "Secret vcenter-operator: key 'tsig_key' is not base64")
    return dns.tsig.Key(KEY_NAME, secret, KEY_ALGORITHM)


async def ask_serial(domain: str, access: Access, *, timeout: float, over_tcp: bool) -> int:
    """The zone's SOA serial as the server states it now, signed where a key is set.

    Raises whatever the libraries do; see `failures.translated`.
    """
    if access.tsig_key is None:
        return await _ask_unsigned(domain, access.server, timeout, over_tcp)
    return await _ask_signed(domain, access.server, signing_key(access.tsig_key), timeout, over_tcp)


async def _ask_unsigned(domain: str, server: Server, timeout: float, over_tcp: bool) -> int:
    flags = pycares.ARES_FLAG_NORECURSE | pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_NO_DFLT_SVR
    if over_tcp:
        flags |= pycares.ARES_FLAG_USEVC
    # A resolver of its own for each question: c-ares answers a second one from its cache for the record's TTL.
    async with aiodns.DNSResolver(nameservers=[str(server)], timeout=timeout, tries=1, flags=flags) as resolver:
        result = await resolver.query_dns(domain, "SOA")
    for record in result.answer:
        if isinstance(record.data, pycares.SOARecordData) and record.name.rstrip(".").lower() == domain:
            return int(record.data.serial)
    raise Refused("no SOA record")


async def _ask_signed(domain: str, server: Server, key: dns.tsig.Key, timeout: float, over_tcp: bool) -> int:
    origin = dns.name.from_text(domain)
    query = dns.message.make_query(origin, dns.rdatatype.SOA)
    query.use_tsig({key.name: key}, key.name)
    if over_tcp:
        answer = await dns.asyncquery.tcp(query, server.address, timeout, server.port)
    else:
        answer = await _ask_udp(query, server, timeout)
    if not answer.had_tsig:
        raise ZoneUnavailable(SIGNATURE, f"DNS server {server}: its answer is not signed")
    if answer.rcode() != dns.rcode.NOERROR:
        raise Refused(dns.rcode.to_text(answer.rcode()))
    for rrset in answer.answer:
        for rdata in rrset:
            if rrset.name == origin and isinstance(rdata, dns.rdtypes.ANY.SOA.SOA):
                return int(rdata.serial)
    raise Refused("no SOA record")


async def _ask_udp(query: dns.message.Message, server: Server, timeout: float) -> dns.message.Message:
    """Over UDP, and over TCP where the answer is truncated.

    The socket is connected, so that a port where nobody listens is known at once and strangers' packets are dropped.
    """
    backend: Any = dns.asyncbackend.get_default_backend()
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    connected = await backend.make_socket(family, socket.SOCK_DGRAM, 0, None, (server.address, server.port), timeout)
    async with connected:
        answer, _ = await dns.asyncquery.udp_with_fallback(
            query, server.address, timeout, server.port, udp_sock=connected
        )
    return answer
