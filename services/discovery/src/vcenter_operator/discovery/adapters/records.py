"""From a zone as dnspython has it to what counts of it."""

from __future__ import annotations

import dns.name
import dns.node
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.zone

from vcenter_operator.discovery.core.zone import Entry, is_vcenter


def entries(zone: dns.zone.Zone, domain: str) -> dict[str, Entry]:
    """The A, AAAA and CNAME records of every vCenter of a zone (not relativized), and of what their aliases lead to.

    Looks at the first label of each name and at nothing else of those that do not count: the zone may be large.
    """
    origin = dns.name.from_text(domain)
    depth = len(origin) + 1
    waiting = [
        name
        for name in zone
        if len(name) == depth and name[0][:3].lower() == b"vc-" and is_vcenter(_fqdn(name), domain)
    ]
    found: dict[str, Entry] = {}
    while waiting:
        name = waiting.pop()
        node = zone.get_node(name) if name.is_subdomain(origin) else None
        if node is None or (text := _fqdn(name)) in found:
            continue
        entry, target = _entry(node)
        if entry is not None:
            found[text] = entry
        if target is not None:
            waiting.append(target)
    return found


def serial(zone: dns.zone.Zone) -> int:
    """The SOA serial of a zone that has one."""
    return int(zone.get_soa().serial)


def _entry(node: dns.node.Node) -> tuple[Entry | None, dns.name.Name | None]:
    addresses: list[str] = []
    target: dns.name.Name | None = None
    for rdataset in node:
        if rdataset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            addresses += [rdata.to_text() for rdata in rdataset]
        elif rdataset.rdtype == dns.rdatatype.CNAME:
            for rdata in rdataset:
                assert isinstance(rdata, dns.rdtypes.ANY.CNAME.CNAME)
                target = rdata.target
    if not addresses and target is None:
        return None, None
    return Entry(tuple(addresses), _fqdn(target) if target is not None else None), target


def _fqdn(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
