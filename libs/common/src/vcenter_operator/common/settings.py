"""Settings of the process, from environment variables; what concerns the region is in the Secret (`configuration`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from vcenter_operator.common.configuration import ACCOUNT, SECRET_NAME
from vcenter_operator.common.errors import ConfigurationError
from vcenter_operator.common.telemetry import Level

PREFIX = "VCENTER_OPERATOR_"


class Settings(BaseSettings):
    """What every stage needs. A stage's own settings extend this; the docstrings are the configuration reference."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, populate_by_name=True, extra="ignore", use_attribute_docstrings=True
    )

    secret_keys: ClassVar[tuple[str, ...]] = ACCOUNT
    """Keys that the Secret has to have, whatever is sealed."""

    bus: str = Field(default="amqp://guest:guest@localhost/", repr=False)
    """URL of RabbitMQ (`amqp` or `amqps`), or `in-process`. The key `bus_url` of the Secret counts where this is not
    set."""
    partitions: int = Field(default=11, ge=1, le=256)
    """Partitions an arrow. A change needs a raise of the generation. Take a prime: under powers of two, names like
    `vc-a-0` to `vc-a-9` may all fall into one partition. With up to 100 vCenters a partition, however long a backlog
    is, one statement on each is worked on; with more, several may be."""
    generation: int = Field(default=1, ge=1)
    """Generation of the topology, part of every queue's name. The same for all stages, as is the number of
    partitions."""
    heartbeat: int = Field(default=10, ge=1, le=300)
    """Seconds: a replica that is silent for longer than this loses its partitions within twice the time."""
    bus_ca: Path | None = None
    """CA bundle (PEM) for `amqps`; none: the system's."""
    bus_certificate: Path | None = None
    """Client certificate (PEM) for `amqps`; where the URL names no user it is the login."""
    bus_certificate_key: Path | None = None
    """Its private key; none: it is in the same file."""
    repeat_every: float = Field(default=300.0, gt=0)
    """Seconds between two repetitions of the current statements."""
    stop_within: float = Field(default=5.0, gt=0)
    """Seconds that a stage has for finishing what it holds when it is told to stop."""
    probe_port: int | None = Field(default=None, ge=1, le=65535)
    """Where `/healthz`, `/readyz`, `/metrics` and `/log-level` are served; none: nowhere."""
    probe_every: float = Field(default=15.0, gt=0)
    """Seconds without a message after which a partition is probed; twice that without an answer is not healthy."""
    namespace: str | None = None
    """Own namespace; none: the service account's, or `monsoon3` outside a cluster."""
    secret: str = Field(default=SECRET_NAME, min_length=1)
    """Name of the Secret with the configuration, in the own namespace."""
    service_domain: str | None = Field(default=None, validation_alias="SERVICE_DOMAIN")
    """The zone to look in; none: the last search domain of `resolv.conf`, or `cc.<region>.cloud.sap` outside a
     cluster."""
    log_level: Level = Field(default="INFO", validation_alias="LOG_LEVEL")
    """The level at the start; `PUT /log-level` changes it while the process runs."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """`auto`: text on a terminal, JSON elsewhere."""

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
            raise ConfigurationError(f"{cls.variable(name)}: {first['msg']}") from None
        except SettingsError as error:
            name = next((field for field in cls.model_fields if f'"{field}"' in str(error)), "settings")
            raise ConfigurationError(f"{cls.variable(name)}: expected JSON") from None

    @classmethod
    def variable(cls, name: str) -> str:
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
