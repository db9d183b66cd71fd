"""What DNS libraries raise, as one error that says which server, which zone and what to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiodns.error as ares
import dns.exception
import dns.rcode
import dns.tsig
import dns.xfr

from vcenter_operator.common.settings import PREFIX
from vcenter_operator.discovery.ports import Access, ZoneUnavailable

UNREACHABLE = "ServerUnreachable"
SIGNATURE = "SignatureRejected"
REFUSED = "ServerRefused"
MALFORMED = "AnswerMalformed"
INCOMPLETE = "ZoneIncomplete"
NOT_FOUND = "ServerNotFound"
TOO_LARGE = "ZoneTooLarge"

_SECRET = "Secret vcenter-operator: key 'tsig_key'"  # noqa: S105 - its name
_SIGNATURES = (dns.tsig.PeerError, dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadTime, dns.tsig.BadAlgorithm)
_ARES_SILENT = (ares.ARES_ETIMEOUT, ares.ARES_ECONNREFUSED, ares.ARES_EOF, ares.ARES_ECANCELLED)
_ARES_REFUSED = (ares.ARES_EREFUSED, ares.ARES_ESERVFAIL, ares.ARES_ENOTFOUND, ares.ARES_ENODATA, ares.ARES_ENOTIMP)


class Refused(Exception):
    """An answer with an error code (`rcode`, as text)."""


@contextmanager
def translated(access: Access, doing: str) -> Iterator[None]:
    """Turns whatever goes wrong inside into a ZoneUnavailable. `doing` completes "while ...".

    Nothing that comes over the network is trusted to fail in a way that is known beforehand, so every Exception is
    caught here.
    """
    try:
        yield
    except ZoneUnavailable:
        raise
    except Exception as error:
        reason, problem = _explained(error, access)
        raise ZoneUnavailable(reason, f"DNS server {access.server}: {problem} (while {doing})") from error


def _explained(error: Exception, access: Access) -> tuple[str, str]:
    match error:
        case MemoryError():
            return TOO_LARGE, f"the zone takes more memory than {PREFIX}DNS_TRANSFER_MEMORY allows"
        case EOFError():
            return UNREACHABLE, "it closed the connection in the middle of its answer"
        case TimeoutError() | dns.exception.Timeout():
            return UNREACHABLE, "no answer in time"
        case OSError():
            return UNREACHABLE, f"{error.strerror or error}"
        case ares.DNSError():
            return _explained_ares(error)
        case dns.exception.DNSException() if "TSIG" in str(error):
            return SIGNATURE, f"its answer is not signed, although {_SECRET} is set"
        case Refused():
            return REFUSED, f"it refuses with {error}{_hint(access)}"
        case dns.xfr.TransferError():
            return REFUSED, f"it refuses the transfer with {dns.rcode.to_text(error.rcode)}{_hint(access)}"
        case _ if isinstance(error, _SIGNATURES):
            return SIGNATURE, _explained_signature(error)
        case _:
            return MALFORMED, f"its answer makes no sense: {type(error).__name__}: {error}"


def _explained_signature(error: Exception) -> str:
    if isinstance(error, (dns.tsig.PeerBadTime, dns.tsig.BadTime)):
        return "its clock and ours differ too much for a signature (TSIG)"
    if isinstance(error, dns.tsig.PeerBadKey):
        return f"it does not know the TSIG key 'tsig-key' (hmac-sha256) that {_SECRET} is the secret of here"
    return f"the signature is not accepted: {_SECRET} is not the server's secret for 'tsig-key'"


def _explained_ares(error: ares.DNSError) -> tuple[str, str]:
    code, text = (*error.args, "")[:2]
    if code in _ARES_SILENT:
        return UNREACHABLE, f"no answer: {text}"
    if code in _ARES_REFUSED:
        return REFUSED, f"it has no answer: {text}"
    return MALFORMED, f"its answer makes no sense: {text}"


def _hint(access: Access) -> str:
    return "" if access.tsig_key else f" (unsigned, as {_SECRET} is not set)"
