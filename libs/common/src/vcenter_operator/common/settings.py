"""Settings of the process, from environment variables; what concerns the region is in the Secret (`configuration`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.telemetry import Level

PREFIX = "VCENTER_OPERATOR_"


class Settings(BaseSettings):
    """What every stage needs. A stage's own settings extend this."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, populate_by_name=True, extra="ignore")

    bus: str = Field(default="amqp://guest:guest@localhost/", repr=False)
    """AMQP URL (amqp or amqps), or `in-process`. It has a password in it."""
    partitions: int = Field(default=11, ge=1, le=256)
    """P: queues an arrow. Changing it needs a new generation. Best a prime: of names that differ in a letter and a
    digit, the lowest bits of the CRC, which are all that a power of two takes, have few values."""
    generation: int = Field(default=1, ge=1)
    """Generation of the topology, part of every queue's name."""
    heartbeat: int = Field(default=10, ge=1, le=300)
    """Seconds: a replica that is silent for longer than this loses its partitions within twice the time."""
    bus_ca: Path | None = None
    """CA bundle for amqps; None: the system's."""
    bus_certificate: Path | None = None
    """Client certificate for amqps (PEM); where the URL names no user it is the login."""
    bus_certificate_key: Path | None = None
    """Its private key; None: it is in the same file."""
    repeat_every: float = Field(default=300.0, gt=0)
    """Seconds between two repetitions of the current statements."""
    stop_within: float = Field(default=5.0, gt=0)
    """Seconds that a stage has for finishing what it holds when it is told to stop."""
    probe_port: int | None = Field(default=None, ge=1, le=65535)
    """Where `/healthz`, `/readyz`, `/metrics` and `/log-level` are served; None: nowhere."""
    probe_every: float = Field(default=15.0, gt=0)
    """Seconds without a message after which a partition is probed; twice that without an answer is not healthy."""
    namespace: str | None = None
    """Own namespace; None: the service account's, or `monsoon3` outside the cluster."""
    service_domain: str | None = Field(default=None, validation_alias="SERVICE_DOMAIN")
    """The zone to look in; None: as the contract says."""
    log_level: Level = Field(default="INFO", validation_alias="LOG_LEVEL")
    """The level at the start; it can be changed while the process runs (see `serving`)."""
    log_format: Literal["auto", "json", "text"] = "auto"

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """From the environment, `overrides` first.

        Raises:
            ConfigurationError: names the environment variable and what is expected.
        """
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            raise ConfigurationError(f"{cls._variable(name)}: {first['msg']}") from None
        except SettingsError as error:
            name = next((field for field in cls.model_fields if f'"{field}"' in str(error)), "settings")
            raise ConfigurationError(f"{cls._variable(name)}: expected JSON") from None

    @classmethod
    def _variable(cls, name: str) -> str:
        """The environment variable of a field, given its name or its alias."""
        field = cls.model_fields.get(name)
        alias = field.validation_alias if field else None
        if isinstance(alias, str):
            return alias
        return name if field is None and name.isupper() else f"{PREFIX}{name.upper()}"


class ManifestSettings(Settings):
    """What the stages that handle manifests have to agree on: the renderer makes them, the applier writes them."""

    cluster_scoped_kinds: Annotated[frozenset[str], NoDecode] = frozenset()
    """Cluster-scoped kinds that templates may yield: `Kind` or `group/Kind`, comma-separated; none else may."""

    @field_validator("cluster_scoped_kinds", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
