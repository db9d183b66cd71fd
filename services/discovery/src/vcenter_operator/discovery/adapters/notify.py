"""What a NOTIFY (RFC 1996) is answered, and whether it counts. Nothing in it is believed but that somebody sent it."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.rrset
import dns.tsig

_HEADER = 12
LARGEST = 4096
"""Bytes of a message: a NOTIFY has some hundred."""
_MOST_RECORDS = 8
"""Of a message: a NOTIFY has a question, perhaps a SOA record, EDNS and a signature. Parsing more is work that anybody
could give us."""
_KEY_UNKNOWN = (dns.message.UnknownTSIGKey, dns.tsig.BadKey, dns.tsig.BadAlgorithm)


@dataclass(frozen=True)
class Answer:
    """What to do about a message."""

    wire: bytes | None
    """What to send back; None: nothing."""
    counts: bool = False
    """Whether it is a NOTIFY for our zone, from somebody who has the key where there is one."""
    problem: str = ""
    """Why it does not count."""


def answer(wire: bytes, domain: str, key: dns.tsig.Key | None) -> Answer:
    """The answer to a message that arrived where we listen for NOTIFY.

    By RFC 1996 (3.12, 4.7), RFC 2136 (2.2) for the code of a zone that is not ours, and RFC 8945 (5.2, 5.3): where we
    have a key an unsigned message is refused, and one whose key, signature or time is wrong is NOTAUTH. The answer is
    signed where the request was and its signature is right. An answer of somebody's, and what is no message, is not
    answered at all, so that no two servers keep each other busy.
    """
    if len(wire) < _HEADER or wire[2] & 0x80:
        return Answer(None, problem="no request")
    if dns.opcode.from_flags(int.from_bytes(wire[2:4])) != dns.opcode.NOTIFY:
        return Answer(_bare(wire, dns.rcode.NOTIMP), problem="no NOTIFY")
    if len(wire) > LARGEST or sum(struct.unpack("!4H", wire[4:_HEADER])) > _MOST_RECORDS:
        return Answer(_bare(wire, dns.rcode.FORMERR), problem="too much for a NOTIFY")
    try:
        message = dns.message.from_wire(wire, keyring={key.name: key} if key is not None else {})
    except _KEY_UNKNOWN:
        return Answer(_unauthentic(wire, dns.rcode.BADKEY, key), problem="signed with a key that is not ours")
    except dns.tsig.BadSignature:
        return Answer(_unauthentic(wire, dns.rcode.BADSIG, key), problem="its signature is wrong")
    except dns.tsig.BadTime:
        return Answer(_unauthentic(wire, dns.rcode.BADTIME, key), problem="signed at another time: look at the clocks")
    except Exception as error:  # whatever comes over the network
        return Answer(_bare(wire, dns.rcode.FORMERR), problem=f"malformed ({type(error).__name__})")
    if key is not None and not message.had_tsig:
        return Answer(_bare(wire, dns.rcode.REFUSED), problem="not signed, although a key is set")
    rcode, problem = _judged(message, domain)
    response = dns.message.make_response(message)
    response.flags |= dns.flags.AA
    response.set_rcode(rcode)
    return Answer(response.to_wire(), rcode == dns.rcode.NOERROR, problem)


def busy(wire: bytes) -> bytes | None:
    """The answer while it is not known what to check a message against: try again later."""
    return _bare(wire, dns.rcode.SERVFAIL) if len(wire) >= _HEADER and not wire[2] & 0x80 else None


def _judged(message: dns.message.Message, domain: str) -> tuple[dns.rcode.Rcode, str]:
    if len(message.question) != 1:
        return dns.rcode.FORMERR, "not one question"
    question = message.question[0]
    if question.rdtype != dns.rdatatype.SOA or question.rdclass != dns.rdataclass.IN:
        return dns.rcode.FORMERR, "not about a SOA record"
    if question.name != dns.name.from_text(domain):
        return dns.rcode.NOTAUTH, f"about another zone, {question.name.to_text(omit_final_dot=True)[:80]!r}"
    return dns.rcode.NOERROR, ""


def _bare(wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """A header alone: the request's id, opcode and RD."""
    flags = dns.flags.QR | (int.from_bytes(wire[2:4]) & (0x7800 | dns.flags.RD)) | rcode
    return struct.pack("!2s5H", wire[:2], flags, 0, 0, 0, 0)


def _unauthentic(wire: bytes, error: dns.rcode.Rcode, key: dns.tsig.Key | None) -> bytes:
    """NOTAUTH with the TSIG error (RFC 8945, 5.3.2): only BADTIME is signed, and has our time with it."""
    # Whatever follows the signature was not looked at either when the key was found wrong.
    request = dns.message.from_wire(wire, keyring=False, ignore_trailing=True)
    assert request.tsig is not None
    given = request.tsig[0]
    assert isinstance(given, dns.rdtypes.ANY.TSIG.TSIG)
    response = dns.message.Message(id=request.id)
    response.flags = dns.flags.QR | (request.flags & dns.flags.RD)
    response.set_opcode(dns.opcode.NOTIFY)
    response.set_rcode(dns.rcode.NOTAUTH)
    response.question = list(request.question)
    if error == dns.rcode.BADTIME and key is not None:
        response.use_tsig(key, tsig_error=error, other_data=int(time.time()).to_bytes(6))
        response.request_mac = given.mac
    else:
        unsigned = given.replace(mac=b"", error=error, other=b"")
        response.tsig = dns.rrset.from_rdata(request.tsig.name, 0, unsigned)
    return response.to_wire()
