"""Readings from a real OPC-UA server: a value counts with the unit that the machine gives."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socket
from threading import Event
from typing import Any

import pytest
from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

from infra.embedded.ports import LOOPBACK, port
from infra.machine_readings import read_machine
from infra.node_maintenance import NodeMaintenance
from schemas.maintenance_check import CheckWork, GivenReading
from tests.instruments import INTENSITY, NODE, Register, calibrated, daily, delivered, disk, in_force, item
from workers.node import from_machine

VALUES: dict[str, ua.Variant] = {
    "Double": ua.Variant(1250.25, ua.VariantType.Double),
    "Float": ua.Variant(0.1, ua.VariantType.Float),
    "Int": ua.Variant(1250, ua.VariantType.Int32),
    "NaN": ua.Variant(float("nan"), ua.VariantType.Double),
    "Text": ua.Variant("1250", ua.VariantType.String),
    "Switch": ua.Variant(True, ua.VariantType.Boolean),
    "Bare": ua.Variant(1250.0, ua.VariantType.Double),
}


@contextmanager
def machine() -> Iterator[str]:
    """A lamp's controller, in a thread of its own."""
    url, ready, stop = f"opc.tcp://{LOOPBACK}:{port()}", Event(), Event()

    async def serve() -> None:
        server = Server()
        await server.init()
        server.set_endpoint(url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        assert await server.register_namespace("urn:cell") == 2
        unit = ua.EUInformation(NamespaceUri="http://www.opcfoundation.org/UA/units/un/cefact")
        unit.DisplayName = ua.LocalizedText("uW/cm2")
        for name, value in VALUES.items():
            node = await server.nodes.objects.add_variable(ua.NodeId.from_string(f"ns=2;s=UV.{name}"), name, value)
            if name != "Bare":
                await node.add_property(ua.NodeId.from_string(f"ns=2;s=UV.{name}.Unit"), "0:EngineeringUnits", unit)
        bad = await server.nodes.objects.add_variable(ua.NodeId.from_string("ns=2;s=UV.Bad"), "Bad", 1250.0)
        await bad.write_value(ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadSensorFailure))))
        async with server:
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.05)

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(asyncio.run, serve())
        try:
            while not ready.wait(0.1):
                assert not serving.done(), serving.exception()
            yield url
        finally:
            stop.set()
            serving.result(10)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with machine() as url:
        yield url


def _answer_in_http(listening: socket) -> None:
    caller, _ = listening.accept()
    with caller:
        caller.recv(1000)
        caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\nno OPC-UA here")


def read(url: str | None, name: str) -> GivenReading | str:
    return read_machine(url, {"intensity": f"ns=2;s=UV.{name}"})["intensity"]


class TestAReading:
    @pytest.mark.parametrize(("name", "value"), [("Double", "1250.25"), ("Float", "0.1"), ("Int", "1250")])
    def test_is_exactly_what_the_machine_shows_in_its_unit(self, url: str, name: str, value: str) -> None:
        assert read(url, name) == GivenReading(value=value, unit="uW/cm2")

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("NaN", "is no number"),
            ("Text", "is no number"),
            ("Switch", "is no number"),
            ("Bare", "gives 1250.0 for ns=2;s=UV.Bare without a unit"),
            ("Bad", "the machine gives no value for ns=2;s=UV.Bad"),
            ("Gone", "the machine gives no value for ns=2;s=UV.Gone"),
        ],
    )
    def test_that_is_none_says_why(self, url: str, name: str, why: str) -> None:
        found = read(url, name)
        assert isinstance(found, str)
        assert why in found
        assert "give the reading by hand" in found

    def test_of_a_wrong_node_id_says_why(self, url: str) -> None:
        found = read_machine(url, {"intensity": "not a node id"})["intensity"]
        assert isinstance(found, str)
        assert "give the reading by hand" in found

    def test_of_a_machine_that_is_off_says_why(self) -> None:
        found = read(f"opc.tcp://{LOOPBACK}:{port()}", "Double")
        assert isinstance(found, str)
        assert "cannot be reached" in found

    @pytest.mark.parametrize("url", ["nonsense", "opc.tcp://", "opc.tcp://127.0.0.1:99999", "opc.tcp://bad host:1"])
    def test_of_a_machine_that_cannot_be_says_why(self, url: str) -> None:
        found = read(url, "Double")
        assert isinstance(found, str)
        assert "cannot be reached" in found

    def test_of_a_machine_that_speaks_something_else_says_why(self) -> None:
        with socket() as listening, ThreadPoolExecutor(1) as pool:
            listening.bind((LOOPBACK, 0))
            listening.listen()
            pool.submit(_answer_in_http, listening)
            found = read(f"opc.tcp://{LOOPBACK}:{listening.getsockname()[1]}", "Double")
        assert isinstance(found, str)
        assert "cannot be reached" in found

    def test_needs_a_machine_in_the_registry(self) -> None:
        assert read(None, "Double") == "the registry names no opcua_url for this node: give the reading by hand"


class TestACheck:
    @pytest.fixture
    def node(self, tmp_path: Path, url: str) -> Iterator[NodeMaintenance]:
        with closing(NodeMaintenance(NODE.model_copy(update={"opcua_url": url}), disk(tmp_path))) as node:
            Register(node).write((item(), calibrated()))
            yield node

    def done(self, node: NodeMaintenance, name: str, **work: Any) -> list[tuple[str, str]]:
        machine = INTENSITY | {"opcua_node": f"ns=2;s=UV.{name}"}
        node.take_contract(delivered(in_force(**daily("day", machine))))
        asked = node.asked("LAMP-1", "daily")
        steps = asked.contract.maintenance_procedures["daily"].steps
        result = node.check(
            "LAMP-1", "daily", from_machine(node.node.opcua_url, steps, CheckWork(person="ines", **work))
        )
        return [(step.status, step.notes) for step in result.checks_performed]

    def test_takes_what_the_machine_gives(self, node: NodeMaintenance) -> None:
        assert self.done(node, "Int") == [("completed", "1250 uW/cm2 (1000 to 5000 uW/cm2)")]

    def test_fails_with_what_is_out_of_limits_at_the_machine(self, node: NodeMaintenance) -> None:
        assert self.done(node, "Float") == [("out_of_limits", "0.1 uW/cm2 is below 1000 uW/cm2")]

    def test_fails_where_the_machine_gives_nothing(self, node: NodeMaintenance) -> None:
        ((status, notes),) = self.done(node, "Gone")
        assert status == "not_done"
        assert "the machine gives no value" in notes

    def test_takes_what_a_person_gives_instead(self, node: NodeMaintenance) -> None:
        given = {"intensity": GivenReading(value="1300", unit="uW/cm2")}
        assert self.done(node, "Float", readings=given) == [("completed", "1300 uW/cm2 (1000 to 5000 uW/cm2)")]
