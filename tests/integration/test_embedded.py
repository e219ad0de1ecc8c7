"""The embedded shop's servers: what they keep, how they come and go, and what stays behind."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from io import StringIO
from itertools import count
from pathlib import Path
from uuid import uuid4

import aiomqtt
import asyncpg
import psutil
import pytest
import pytest_asyncio
from pydantic import SecretStr
from rich.console import Console
from temporalio.client import Client, WorkflowExecutionStatus

from infra.embedded import addresses, ports, process
from infra.embedded.broker import Broker
from infra.embedded.ports import LOOPBACK, port
from infra.embedded.process import Process, StartError
from infra.embedded.shop import EmbeddedServers, ShopRunsError
from infra.settings import Settings
from workers.up import up

HOLDER = """
import asyncio, sys
from pathlib import Path
from infra.embedded.shop import EmbeddedServers

async def main():
    async with EmbeddedServers(Path(sys.argv[1]), durable=False, headless=True) as servers:
        print(*(server.pid for server in servers.servers), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


class Sleeper(Process):
    """Ready when its script has made the file `up`."""

    def __init__(self, folder: Path, script: str) -> None:
        self.told: list[str] = []
        super().__init__("sleeper", log_file=folder / "sleeper.log", report=self.told.append)
        self.up = folder / "up"
        self.script = script

    async def prepare(self) -> None:
        self.up.unlink(missing_ok=True)

    def command(self) -> Sequence[str | Path]:
        return ["sh", "-c", self.script, "sh", self.up]

    async def ready(self) -> bool:
        return self.up.exists()


STAYS = 'touch "$1"; exec sleep 600'


async def until(holds: Callable[[], bool]) -> None:
    """TimeoutError after 20 s."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def mqtt(broker: Broker, identifier: str) -> aiomqtt.Client:
    """A client with a session that outlives its connection."""
    return aiomqtt.Client(
        LOOPBACK,
        broker.port,
        identifier=identifier,
        protocol=aiomqtt.ProtocolVersion.V311,
        clean_session=False,
    )


@pytest_asyncio.fixture(scope="module")
async def durable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedServers]:
    """Servers of this module's own, with Temporal's state in a file."""
    async with EmbeddedServers(tmp_path_factory.mktemp("durable"), headless=True) as servers:
        yield servers


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


class TestAServerThatIsKilled:
    async def test_postgres_keeps_a_committed_row(self, durable: EmbeddedServers) -> None:
        connection = await asyncpg.connect(durable.postgres.url())
        await connection.execute("CREATE TABLE kept (what text)")
        await connection.execute("INSERT INTO kept VALUES ('a row')")
        before = durable.postgres.port

        await durable.postgres.kill()
        connection.terminate()
        await durable.postgres.start()

        assert durable.postgres.port == before
        connection = await asyncpg.connect(durable.postgres.url())
        assert await connection.fetchval("SELECT what FROM kept") == "a row"
        await connection.close()

    async def test_the_broker_keeps_what_waits_for_a_session_and_what_is_retained(
        self, durable: EmbeddedServers
    ) -> None:
        async with mqtt(durable.broker, "away") as away:
            await away.subscribe("kept/+", qos=1)
        async with mqtt(durable.broker, "sender") as sender:
            await sender.publish("kept/message", "waits", qos=1)
            await sender.publish("retained", "stays", qos=1, retain=True)

        await durable.broker.kill()
        await durable.broker.start()

        async with asyncio.timeout(20), mqtt(durable.broker, "away") as away:
            assert (await anext(away.messages)).payload == b"waits"
            await away.subscribe("retained", qos=1)
            assert (await anext(away.messages)).payload == b"stays"

    async def test_temporal_keeps_a_running_workflow(self, durable: EmbeddedServers) -> None:
        client = await Client.connect(durable.temporal.address)
        workflow = f"kept-{uuid4().hex}"
        await client.start_workflow("Nobody", id=workflow, task_queue="nobody")

        await durable.temporal.kill()
        await durable.temporal.start()

        client = await Client.connect(durable.temporal.address)
        description = await client.get_workflow_handle(workflow).describe()
        assert description.status is WorkflowExecutionStatus.RUNNING

    async def test_temporal_begins_anew_when_it_was_killed_before_it_was_ever_ready(self, tmp_path: Path) -> None:
        servers = EmbeddedServers(tmp_path, headless=True)
        half_made = tmp_path / "temporal" / "state.sqlite"
        half_made.parent.mkdir()
        half_made.write_bytes(b"no database at all")

        await servers.temporal.start()

        await servers.temporal.stop()
        assert half_made.read_bytes().startswith(b"SQLite format 3")


class TestTheSupervision:
    async def test_restarts_a_process_that_dies_and_tells_of_both(self, tmp_path: Path) -> None:
        sleeper = Sleeper(tmp_path, STAYS)
        await sleeper.start()
        first = sleeper.pid

        sleeper.send(signal.SIGKILL)
        await until(lambda: len(sleeper.told) == 2)

        assert sleeper.pid not in (None, first)
        assert sleeper.told == [
            "sleeper died (SIGKILL); it starts again in 0.5 s",
            f"sleeper runs again (pid {sleeper.pid})",
        ]
        await sleeper.stop()

    async def test_leaves_dead_what_was_killed_on_purpose(self, tmp_path: Path) -> None:
        sleeper = Sleeper(tmp_path, STAYS)
        await sleeper.start()

        await sleeper.kill()
        await asyncio.sleep(0.8)

        assert sleeper.pid is None
        assert sleeper.told == []

    async def test_a_failed_start_says_why_and_leaves_nothing_running(self, tmp_path: Path) -> None:
        sleeper = Sleeper(tmp_path, "echo the tank is empty; exit 3")

        with pytest.raises(StartError, match=r"(?s)exit status 3.*the tank is empty.*sleeper\.log"):
            await sleeper.start()

        assert sleeper.pid is None

    async def test_a_start_that_takes_too_long_is_ended(self, tmp_path: Path) -> None:
        sleeper = Sleeper(tmp_path, "sleep 600")
        sleeper.start_within = timedelta(seconds=1)

        with pytest.raises(StartError, match="was not ready within 1 s"):
            await sleeper.start()

        assert sleeper.pid is None

    async def test_a_process_that_ignores_the_request_is_killed_with_its_children(self, tmp_path: Path) -> None:
        sleeper = Sleeper(tmp_path, 'trap \'\' TERM; sleep 600 & echo $! > "$1.child"; touch "$1"; wait; wait')
        sleeper.stop_within = timedelta(seconds=0.3)
        await sleeper.start()
        leader, child = sleeper.pid, int((tmp_path / "up.child").read_text())

        await sleeper.stop()

        assert leader is not None
        assert not lives(leader)
        assert not lives(child)

    async def test_a_process_is_out_of_reach_of_the_terminals_ctrl_c(self, tmp_path: Path) -> None:
        sleeper = Sleeper(tmp_path, STAYS)
        await sleeper.start()
        assert sleeper.pid is not None
        assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)
        await sleeper.stop()


class TestTheLog:
    async def test_goes_on_where_it_ended(self, tmp_path: Path) -> None:
        sleeper = Sleeper(tmp_path, f"echo again; {STAYS}")
        sleeper.log_file.write_text("before\n")
        await sleeper.start()
        await sleeper.stop()
        assert sleeper.log_file.read_text() == "before\nagain\n"

    async def test_that_has_grown_large_is_put_aside_once_at_a_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process, "LOG_SIZE", 8)
        aside = tmp_path / "sleeper.log.1"
        aside.write_text("the one before that")
        sleeper = Sleeper(tmp_path, f"echo again; {STAYS}")
        sleeper.log_file.write_text("it was a long day\n")
        await sleeper.start()
        await sleeper.stop()
        assert (aside.read_text(), sleeper.log_file.read_text()) == ("it was a long day\n", "again\n")


class TestPorts:
    def test_a_free_port_is_used_as_preferred(self) -> None:
        free = port()
        assert port(free) == free

    def test_a_taken_port_is_replaced(self, taken: int) -> None:
        assert port(taken) != taken

    def test_a_port_that_was_preferred_is_not_given_to_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def forget() -> None:
            monkeypatch.setattr(ports, "_handed_out", set())
            monkeypatch.setattr(ports, "_search", count())

        forget()
        next_in_turn = port()
        forget()
        assert port(next_in_turn) == next_in_turn
        assert port() != next_in_turn

    def test_no_port_is_given_twice(self) -> None:
        given = [port() for _ in range(50)]
        assert len(set(given)) == 50

    async def test_a_server_whose_usual_port_is_taken_starts_on_another(self, tmp_path: Path, taken: int) -> None:
        servers = EmbeddedServers(tmp_path, durable=False, preferred_ports={"mqtt": taken})
        await servers.broker.start()
        assert servers.settings.mqtt_port != taken
        assert await servers.broker.ready()
        await servers.broker.stop()


class TestTheStateFolder:
    async def test_has_one_shop_at_a_time(self, durable: EmbeddedServers) -> None:
        with pytest.raises(ShopRunsError, match=f"as process {os.getpid()}"):
            await EmbeddedServers(durable.state_dir).__aenter__()

    @pytest.mark.parametrize("terminal", [True, False])
    async def test_that_is_held_is_refused_before_a_word_of_starting(
        self, durable: EmbeddedServers, terminal: bool
    ) -> None:
        shown = Console(file=StringIO(), force_terminal=terminal, width=500)
        assert await up(Settings(state_dir=durable.state_dir), shown) == 1
        assert isinstance(shown.file, StringIO)
        assert shown.file.getvalue().startswith(f"a shop runs on {durable.state_dir} already")

    async def test_is_free_and_nothing_runs_when_the_shop_has_stopped(self, tmp_path: Path) -> None:
        async with EmbeddedServers(tmp_path, durable=False, headless=True) as servers:
            leaders = [psutil.Process(server.pid) for server in servers.servers]
            family = [member.pid for leader in leaders for member in (leader, *leader.children(recursive=True))]
            assert len(family) > len(leaders)
        assert [pid for pid in family if lives(pid)] == []
        async with EmbeddedServers(tmp_path, durable=False, headless=True):
            pass

    async def test_is_free_and_nothing_runs_when_the_shop_was_killed(self, tmp_path: Path) -> None:
        holder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HOLDER, str(tmp_path)), stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        assert holder.stdout is not None
        pids = [int(pid) for pid in (await holder.stdout.readline()).split()]
        assert len(pids) == 3

        holder.kill()
        await holder.communicate()

        await until(lambda: not any(lives(pid) for pid in pids))
        async with EmbeddedServers(tmp_path, durable=False, headless=True) as servers:
            assert await servers.postgres.ready()


class TestTheAddresses:
    def test_are_found_while_the_shop_runs(self, tmp_path: Path) -> None:
        settings = Settings(state_dir=tmp_path, api_port=8001, release_alert_after=timedelta(seconds=7))
        addresses.publish(settings, {})
        assert addresses.running_settings(tmp_path) == settings

    def test_are_not_found_once_it_stopped(self, tmp_path: Path) -> None:
        addresses.publish(Settings(state_dir=tmp_path), {})
        addresses.withdraw(tmp_path)
        assert addresses.running_settings(tmp_path) is None

    def test_its_ports_are_preferred_by_the_next_run(self, tmp_path: Path) -> None:
        assert addresses.preferred_ports(tmp_path)["mqtt"] == 1883
        addresses.publish(Settings(state_dir=tmp_path, mqtt_port=21_883), {"gateway": "http://127.0.0.1:21884/metrics"})
        addresses.withdraw(tmp_path)
        assert addresses.preferred_ports(tmp_path)["mqtt"] == 21_883
        assert addresses.preferred_ports(tmp_path)["gateway"] == 21_884

    def test_reach_processes_as_their_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(
            state_dir=tmp_path, api_port=8001, checkpoint_every=timedelta(seconds=90), hub_token=SecretStr("a token")
        )
        for name, value in addresses.environment(settings).items():
            monkeypatch.setenv(name, value)
        assert Settings() == settings

    def test_are_published_without_secrets(self, tmp_path: Path) -> None:
        addresses.publish(Settings(state_dir=tmp_path, hub_token=SecretStr("a token")), {})
        assert "hub_token" not in (tmp_path / "addresses.json").read_text()
