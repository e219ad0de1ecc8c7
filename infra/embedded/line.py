"""A TCP line to a server, which can be cut and joined again: how the demo and the tests take a hub away."""

import asyncio
from contextlib import suppress

from infra.embedded.ports import LOOPBACK


class Line:
    """Forwards what comes to its own port to another one on this machine, while it is joined.

    Cut, it answers nobody: connections that are open break off, new ones are refused. Whoever sends over it
    needs no other address for that.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def join(self, to: int) -> None:
        """Forward to this port of the loopback address from now on."""

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._open.add(task)
            task.add_done_callback(self._open.discard)
            with suppress(asyncio.CancelledError):  # by `cut`: nobody waits for this task
                await self._both_ways(reader, writer, to)

        self._server = await asyncio.start_server(forward, LOOPBACK, self.port)

    async def cut(self) -> None:
        """Break off what is open and refuse what comes; nothing happens where it is cut already."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: int) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, to)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pass_on(reader, far_writer))
                group.create_task(self.answer(far_reader, writer))
        finally:
            far_writer.close()
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What comes back over the line."""
        await pass_on(reader, writer)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one of the two ends hangs up."""
    with suppress(ConnectionError):
        while received := await reader.read(65536):
            writer.write(received)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
