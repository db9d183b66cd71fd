"""The keys of the Secret `vcenter-operator` that the operator itself knows; any other is a variable for templates."""

from __future__ import annotations

from typing import NamedTuple


class SecretKey(NamedTuple):
    """One key."""

    name: str
    says: str
    """What it is, for people (Markdown)."""
    hidden: bool = False
    """Whether templates do not see it (contract: secrets of the operator itself are kept out of the context)."""


SECRET_KEYS = (
    SecretKey("namespace", "Where the DNS service is looked for. Discovery needs it, unless `dns_ip` is set"),
    SecretKey("username", "The account for the vCenters. Collector and renderer need it"),
    SecretKey(
        "password",
        "The seed that the account's password for each vCenter is derived from. Collector and renderer need it",
        hidden=True,
    ),
    SecretKey(
        "tsig_key",
        "Base64 secret of the TSIG key `tsig-key` (`hmac-sha256`); without it transfers are unsigned, and NOTIFY is "
        "taken unsigned",
        hidden=True,
    ),
    SecretKey("dns_ip", "Goes before the address of the DNS server that is found by its Service"),
    SecretKey("dns_port", "The same for its port"),
    SecretKey(
        "bus_key",
        "Base64 of at least 16 random bytes (`openssl rand -base64 32`): seals manifests on the bus and keys their "
        "digests. Renderer and applier need it",
        hidden=True,
    ),
    SecretKey(
        "bus_key_previous",
        "The former `bus_key`, while it is being rotated: [Key rotation](security.md#rotating-keys)",
        hidden=True,
    ),
    SecretKey("bus_url", "URL of RabbitMQ, where no setting names one", hidden=True),
    SecretKey(
        "vcenter_thumbprints",
        "JSON: FQDN of a vCenter to the SHA-256 thumbprint of its certificate, or a list of them (for the time in "
        "which it is replaced); it takes the place of the CAs for that vCenter",
    ),
    SecretKey(
        "pbm_enabled",
        'The JSON string `"true"`, quotes included: templates see no datastore patterns',
    ),
    SecretKey(
        "manage_service_user_passwords",
        "`true` is refused: credentials managed in Vault are not supported yet. Templates always see false",
    ),
    SecretKey("role_id", "The deployed operator's for Vault: not used, and kept from templates", hidden=True),
    SecretKey("secret_id", "The same", hidden=True),
    SecretKey("ad_ttu_password", "The deployed operator's for Active Directory: the same", hidden=True),
)
