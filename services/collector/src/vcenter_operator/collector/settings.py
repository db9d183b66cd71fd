"""Settings of the collector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import Field, FilePath, field_validator

from vcenter_operator.collector.core.conventions import PRODUCTION, Convention
from vcenter_operator.common import thumbprints
from vcenter_operator.common.settings import Settings


class CollectorSettings(Settings):
    """What the collector needs beyond what every stage does."""

    production_pattern: str = PRODUCTION
    """Regular expression for the whole name of a production cluster; its first group is what stands after the prefix.
    The deployed operator's convention is `production(bb[0-9]+)`."""

    vcenter_port: int = Field(default=443, ge=1, le=65535)
    """Where vCenters answer."""
    vcenter_ca: FilePath | None = None
    """Bundle (PEM) of the CAs that sign the vCenters' certificates; none: the system's."""
    vcenter_thumbprints: Mapping[str, frozenset[str]] = Field(default_factory=dict)
    """FQDN of a vCenter to the SHA-256 thumbprint of its certificate, or a list of them: they take the place of the
    CAs for that vCenter. JSON. What the Secret's key `vcenter_thumbprints` says of a vCenter goes before it."""
    vcenter_insecure: bool = False
    """True: certificates of vCenters are not verified, but those of vCenters with a thumbprint. Passwords can then be
    had by whoever sits in between."""
    vcenter_connect_timeout: float = Field(default=10.0, gt=0)
    """Seconds for connecting to one address, TLS included, and for a greeting."""
    vcenter_read_timeout: float = Field(default=60.0, gt=0)
    """Seconds that a vCenter may take to answer a call."""
    vcenter_wait: int = Field(default=60, ge=1, le=600)
    """Seconds after which a vCenter that has no change to report says so: a hung one is noticed a little later."""
    snapshot_every: float = Field(default=300.0, gt=0)
    """Seconds between two readings of a vCenter that reports no change, and after which what reports is made anew."""
    retry_longest: float = Field(default=60.0, gt=0)
    """Seconds between two attempts at a vCenter that fails, at most."""
    login_retry: float = Field(default=30.0, gt=0)
    """Seconds between two logins after a first and a second was refused, whichever replica tried them: the account
    may be about to be changed. Another user or password in the Secret is tried at once."""
    login_pause: float = Field(default=600.0, gt=0)
    """Seconds between two logins after three were refused in a row: long enough not to lock the account (vCenter's
    default: five within three minutes lock it for five)."""

    @field_validator("vcenter_thumbprints", mode="before")
    @classmethod
    def _are_thumbprints(cls, given: Any) -> Any:
        return thumbprints.parse(given)

    @field_validator("production_pattern")
    @classmethod
    def _has_a_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if not groups:
            raise ValueError("it needs a group for what stands after the prefix, e.g. production(bb[0-9]+)")
        return pattern

    @cached_property
    def convention(self) -> Convention:
        """The convention with this pattern."""
        return Convention(re.compile(self.production_pattern, re.DOTALL))
