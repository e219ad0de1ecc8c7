"""One settings object decides what is real where: environment variables with the prefix `SMARTFLOOR_`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import limits
from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

HERE = Path(__file__).parent

SignatureAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones only: with a shared secret, whoever can check a token can make one."""


def _rate(text: str) -> str:
    limits.parse(text)
    return text


Rate = Annotated[str, AfterValidator(_rate)]
"""As the package limits writes them: `100/minute`, `10 per 5 minutes`."""


def _safe_from_others(url: str) -> str:
    """Whoever can change the keys on their way here can be anybody."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("keys are fetched over https")
    return url


KeysUrl = Annotated[str, AfterValidator(_safe_from_others)]


class Settings(BaseSettings):
    """Where the shop's parts are and how patient it is. The defaults are those of the embedded shop."""

    model_config = SettingsConfigDict(env_prefix="SMARTFLOOR_", frozen=True, extra="ignore")

    state_dir: Path = Field(default=Path(".smartfloor"), description="the embedded shop's state, keys, node disks")
    floor_hub_id: str = Field(default="FLOOR-HUB-01", description="smart_id of what the Floor Hub records")
    nodes_file: Path = Field(default=HERE / "nodes.yaml", description="the registry of test nodes")
    notifications_file: Path = Field(default=HERE / "notifications.yaml", description="who is told of alerts, and when")

    equipment_file: Path = Field(
        default=HERE / "equipment.yaml", description="the instruments that the register begins with"
    )
    personnel_file: Path = Field(default=HERE / "personnel.yaml", description="who is qualified for what")

    database_url: str = Field(
        default="postgresql://smartfloor@127.0.0.1:5432/smartfloor",
        description="the owner of the schema, for migrations",
    )
    database_writer_url: str = Field(
        default="postgresql://smartfloor_writer@127.0.0.1:5432/smartfloor",
        description="the role of all processes: it can insert into the ledger and never change it",
    )
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_tls: bool = False
    temporal_api_key: SecretStr | None = Field(default=None, description="Temporal Cloud's; needs TLS")
    temporal_ui: str = "http://127.0.0.1:8233"
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = 1883
    mqtt_tls: bool = False
    mqtt_username: str | None = None
    mqtt_password: SecretStr | None = None
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    metrics_host: str = Field(default="127.0.0.1", description="where workers and the gateway serve their metrics")
    metrics_port: int = Field(default=0, description="and on which port; 0: a free one, which the log names")

    ledger_origin: str = Field(default="smartfloor.local/ledger", description="origin line of checkpoints")
    checkpoint_every: timedelta = timedelta(minutes=1)
    release_alert_after: timedelta = Field(
        default=timedelta(minutes=5), description="a release that takes longer is alerted as release_failed"
    )
    policy_dir: Path | None = Field(
        default=None, description="where deployed maintenance contracts are kept; None: within state_dir"
    )
    deployment_alert_after: timedelta = Field(
        default=timedelta(hours=1), description="a node that has not acknowledged a maintenance contract is alerted"
    )
    unclaimed_after: timedelta = Field(
        default=timedelta(days=30), description="an arrival that no PO claimed is reported after this time"
    )
    reconcile_every: timedelta = timedelta(days=1)
    maintenance_pattern_window: timedelta = Field(
        default=timedelta(days=30), gt=timedelta(0), description="how far alerts of one review lie apart at most"
    )
    failing_tasks_every: timedelta = Field(
        default=timedelta(seconds=30), description="how often workflows are looked for whose tasks keep failing"
    )

    vault_hub_url: str | None = Field(default=None, description="where results go; None: this system's own API")
    floor_hub_url: str | None = Field(default=None, description="where the next contract goes; None: as above")
    business_hub_url: str | None = Field(default=None, description="who is told of a complete order; None: as above")
    hub_token: SecretStr | None = Field(
        default=None, description="bearer token for the hubs; None: one of the local development key for each request"
    )
    transfer_retries: int = Field(default=3, ge=0, description="after the first attempt of a leg, before a person")
    transfer_first_pause: timedelta = Field(
        default=timedelta(seconds=5), description="before the first retry of a leg; it doubles each time"
    )
    transfer_timeout: timedelta = Field(default=timedelta(seconds=30), description="of one attempt of a leg")

    token_audience: str = Field(default="smartfloor", description="who bearer tokens must be meant for (aud)")
    oidc_issuer: str | None = Field(
        default=None, description="whose bearer tokens count (iss); None: those of the local development key"
    )
    oidc_jwks_url: KeysUrl | None = Field(default=None, description="where that issuer publishes its keys")
    oidc_algorithms: tuple[SignatureAlgorithm, ...] = ("RS256", "ES256", "EdDSA")
    oidc_role_claim: str = Field(default="role", description="the claim that names the role, alone or in a list")
    oidc_user_claim: str = Field(default="sub", description="the claim that becomes the user_id of the ledger")

    login_lasts: timedelta = Field(
        default=timedelta(minutes=15), description="how old a login may be for a decision that signs a record"
    )
    decision_lasts: timedelta = Field(default=timedelta(minutes=10), description="until when a decision token counts")

    rate_limit: Rate = Field(default="3000/minute", description="requests of one user to one API process")
    refusal_limit: Rate = Field(
        default="10/10 minutes", description="requests without token or permission; more of one user are alerted"
    )
    request_limit: int = Field(
        default=256 * 1024, le=1024**2, description="bytes of a request: a document becomes a workflow's input"
    )

    @model_validator(mode="after")
    def _whole_issuer(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_jwks_url is None):
            raise ValueError("give oidc_issuer and oidc_jwks_url, or neither")
        return self

    @property
    def ledger_key_file(self) -> Path:
        """The Ed25519 key that signs checkpoints (PEM, mode 600)."""
        return self.state_dir / "keys" / "ledger.pem"

    @property
    def ledger_public_key_file(self) -> Path:
        """Its public half (C2SP signed-note verifier key): all that checking needs."""
        return self.state_dir / "keys" / "ledger.pub"

    @property
    def token_key_file(self) -> Path:
        """The Ed25519 key that signs bearer tokens for development (PEM, mode 600)."""
        return self.state_dir / "keys" / "token.pem"

    @property
    def decision_key_file(self) -> Path:
        """The Ed25519 key that the API signs decision tokens with (PEM, mode 600)."""
        return self.state_dir / "keys" / "decision.pem"

    @property
    def decision_public_key_file(self) -> Path:
        """Its public half (PEM): what the workers check decisions with."""
        return self.state_dir / "keys" / "decision.pub"

    @property
    def contracts_dir(self) -> Path:
        """The contract store: one YAML document for each contract to come."""
        return self.state_dir / "contracts"

    @property
    def policy_repository_dir(self) -> Path:
        """The policy repository: one folder for each version, in it one YAML document for each contract."""
        return self.policy_dir or self.state_dir / "maintenance-contracts"

    @property
    def guardian_trust_dir(self) -> Path:
        """Public keys of Guardians (PEM), `{node_id}.pub` or `{node_id}+{any}.pub`: the trust list."""
        return self.state_dir / "keys" / "guardians"

    def guardian_key_file(self, node_id: str) -> Path:
        """The Ed25519 key of a node's Guardian (PEM, mode 600); it never leaves the node."""
        return self.state_dir / "nodes" / f"{node_id}.pem"

    def node_store(self, node_id: str) -> Path:
        """The one SQLite file of a node."""
        return self.state_dir / "nodes" / f"{node_id}.sqlite"
