"""Where the running shop is: what its processes are told, and the file by which commands find it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from pydantic import SecretStr

from infra.settings import Settings

USUAL_PORTS: Mapping[str, int] = {"api": 8000, "temporal": 7233, "temporal_ui": 8233, "mqtt": 1883, "postgres": 5432}


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the environment variables that give a process the same settings, secrets and all."""
    values = settings.model_dump(mode="json", exclude_none=True)
    for name in values:
        if isinstance(secret := getattr(settings, name), SecretStr):  # of which a dump has only asterisks
            values[name] = secret.get_secret_value()
    return {
        f"SMARTFLOOR_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def publish(settings: Settings, metrics: Mapping[str, str]) -> None:
    """Publish the addresses in `addresses.json` (whole or not at all), and keep the ports for the next run.

    Secrets are not published. `metrics` says where each of the product's processes serves its metrics.
    """
    addresses = {
        "api": settings.api_url,
        "temporal": settings.temporal_address,
        "temporal_ui": settings.temporal_ui,
        "mqtt": f"mqtt://{settings.mqtt_host}:{settings.mqtt_port}",
        "postgres": settings.database_url,
    }
    ports = {
        name: urlsplit(address if "//" in address else f"//{address}").port
        for name, address in {**metrics, **addresses}.items()
    }
    _replace(settings.state_dir / "ports.json", ports)
    secret = {name for name, value in settings if isinstance(value, SecretStr)}
    told = settings.model_dump(mode="json", exclude=secret)
    _replace(
        settings.state_dir / "addresses.json",
        addresses | {"metrics": metrics, "pid": os.getpid(), "settings": told},
    )


def withdraw(state_dir: Path) -> None:
    """The shop is stopping: nobody finds it any more."""
    (state_dir / "addresses.json").unlink(missing_ok=True)


def preferred_ports(state_dir: Path) -> Mapping[str, int]:
    """The ports of the last run, else the usual ones."""
    try:
        last: dict[str, int] = json.loads((state_dir / "ports.json").read_text())
    except (OSError, ValueError):
        return USUAL_PORTS
    return {**USUAL_PORTS, **last}


def running_settings(state_dir: Path) -> Settings | None:
    """The settings of the shop that runs on this state folder, with its real addresses; None when none runs."""
    try:
        published = json.loads((state_dir / "addresses.json").read_text())
    except (OSError, ValueError):
        return None
    if not psutil.pid_exists(published["pid"]):
        return None  # its process was killed and could not withdraw them
    return Settings.model_validate(published["settings"])


def _replace(path: Path, content: object) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(content, indent=2) + "\n")
    unfinished.replace(path)
