"""One settings object decides what is real where: environment variables with the prefix `SMARTFLOOR_`."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

HERE = Path(__file__).parent


class Settings(BaseSettings):
    """Where the shop's parts are and how patient it is. The defaults are those of the embedded shop."""

    model_config = SettingsConfigDict(env_prefix="SMARTFLOOR_", frozen=True, extra="ignore")

    state_dir: Path = Field(default=Path(".smartfloor"), description="the embedded shop's state, keys, node disks")
    floor_hub_id: str = Field(default="FLOOR-HUB-01", description="smart_id of what the Floor Hub records")
    nodes_file: Path = Field(default=HERE / "nodes.yaml", description="the registry of test nodes")
    notifications_file: Path = Field(default=HERE / "notifications.yaml", description="who is told of alerts, and when")

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
    temporal_ui: str = "http://127.0.0.1:8233"
    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = 1883
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    metrics_port: int = Field(default=0, description="Prometheus port of this process's Temporal SDK; 0: a free one")

    ledger_origin: str = Field(default="smartfloor.local/ledger", description="origin line of checkpoints")
    checkpoint_every: timedelta = timedelta(minutes=1)
    release_alert_after: timedelta = Field(
        default=timedelta(minutes=5), description="a release that takes longer is alerted as release_failed"
    )
    unclaimed_after: timedelta = Field(
        default=timedelta(days=30), description="an arrival that no PO claimed is reported after this time"
    )
    reconcile_every: timedelta = timedelta(days=1)
    failing_tasks_every: timedelta = Field(
        default=timedelta(seconds=30), description="how often workflows are looked for whose tasks keep failing"
    )

    @property
    def ledger_key_file(self) -> Path:
        """The Ed25519 key that signs checkpoints (PEM, mode 600)."""
        return self.state_dir / "keys" / "ledger.pem"

    @property
    def ledger_public_key_file(self) -> Path:
        """Its public half (C2SP signed-note verifier key): all that checking needs."""
        return self.state_dir / "keys" / "ledger.pub"

    def node_store(self, node_id: str) -> Path:
        """The one SQLite file of a node."""
        return self.state_dir / "nodes" / f"{node_id}.sqlite"
