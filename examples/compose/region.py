"""Where the example region's files are, beside this package, and where the containers share theirs."""

from __future__ import annotations

from pathlib import Path

SITE = Path(__file__).parents[1] / "site" / "site.yaml"
MANIFESTS = SITE.parent / "manifests"
FOLDER = Path("/region")
KEY = "YW4gZXhhbXBsZSBrZXksIG5vdCBmb3IgcHJvZHVjdGlvbg=="
"""Of zone transfers: the `tsig-key` of deploy/compose/knot.conf."""
DNS_SERVER = "192.0.2.53"
OPERATOR = 65532
"""The user that the operator's images run as."""
