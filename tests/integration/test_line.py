"""A line that is cut and joined, between a real client and a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from infra.embedded.line import Line
from infra.embedded.ports import LOOPBACK, port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.readline():
        writer.write(received)
    writer.close()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[int]:
    """The port of a server that says back what it is told."""
    serving = await asyncio.start_server(echo, LOOPBACK, 0)
    yield serving.sockets[0].getsockname()[1]
    serving.close()


@pytest_asyncio.fixture
async def line(server: int) -> AsyncIterator[Line]:
    line = Line(port())
    await line.join(server)
    yield line
    await line.cut()


async def said(line: Line, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, line.port)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


class TestALine:
    async def test_passes_on_what_is_said_both_ways(self, line: Line) -> None:
        assert await said(line, b"hello\n") == b"hello\n"

    async def test_that_is_cut_refuses_whoever_comes(self, line: Line) -> None:
        await line.cut()
        with pytest.raises(ConnectionRefusedError):
            await said(line, b"hello\n")

    async def test_that_is_cut_breaks_off_who_is_there(self, line: Line) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, line.port)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        await line.cut()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

    async def test_can_be_joined_again(self, line: Line, server: int) -> None:
        await line.cut()
        await line.join(server)
        assert await said(line, b"hello\n") == b"hello\n"

    async def test_to_a_server_that_is_away_breaks_off(self, line: Line) -> None:
        await line.cut()
        await line.join(port())
        assert await asyncio.wait_for(said(line, b"hello\n"), 5) == b""
