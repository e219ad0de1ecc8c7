"""`smartfloor up`: the whole shop in the foreground, until Ctrl-C."""

import asyncio
import signal

from rich.console import Console
from rich.status import Status
from rich.table import Table

from infra.embedded.process import StartError
from infra.embedded.shop import Shop, ShopRunsError
from infra.settings import Settings

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def up(settings: Settings, console: Console) -> int:
    """Run the shop until Ctrl-C or SIGTERM, a second of which kills what is still stopping.

    Returns the exit status: 0 after a shop that was ready; 128 + the signal's number when that came while the
    shop still started; 1, with the reason on the console, when it could not start.
    """

    def tell(what: str) -> None:
        console.print(what, highlight=False, markup=False)

    def report(what: str) -> None:
        if received:  # what dies after that is meant to
            return
        if not ready.is_set():
            starting.start()  # not earlier: a folder that another shop holds is refused without a word of starting
        tell(what)

    received: list[signal.Signals] = []
    ready = asyncio.Event()
    starting = console.status("Starting the shop")
    shop = Shop(settings, report=report)
    running = asyncio.create_task(_run(shop, console, starting, ready))

    def interrupt(signum: signal.Signals) -> None:
        received.append(signum)
        if len(received) == 1:
            tell("Stopping; once more kills")
            running.cancel()
        else:
            for process in shop.processes:
                process.send(signal.SIGKILL)

    loop = asyncio.get_running_loop()
    for signum in STOP_SIGNALS:
        loop.add_signal_handler(signum, interrupt, signum)
    try:
        await running
    except asyncio.CancelledError:
        if not received:
            raise
    except (StartError, ShopRunsError, OSError) as error:
        tell(str(error))
        return 1
    finally:
        for signum in STOP_SIGNALS:
            loop.remove_signal_handler(signum)
    return 0 if ready.is_set() else 128 + received[0]


async def _run(shop: Shop, console: Console, starting: Status, ready: asyncio.Event) -> None:
    try:
        async with shop:
            starting.stop()
            console.print(_addresses(shop))
            ready.set()
            await asyncio.Event().wait()
    finally:
        starting.stop()


def _addresses(shop: Shop) -> Table:
    settings = shop.settings
    table = Table("The shop runs", "Ctrl-C stops it", box=None, pad_edge=False)
    table.add_row("API", f"{settings.api_url}/docs")
    if settings.oidc_issuer is None:
        table.add_row("A token for it", "smartfloor token --role supervisor --user NAME")
    else:
        table.add_row("Tokens for it", f"from {settings.oidc_issuer}")
    table.add_row("Temporal Web UI", settings.temporal_ui)
    table.add_row("Temporal", settings.temporal_address)
    table.add_row("MQTT", f"{settings.mqtt_host}:{settings.mqtt_port}")
    table.add_row("PostgreSQL", settings.database_url)
    table.add_row("Metrics", "\n".join(f"{url}  {name}" for name, url in shop.metrics.items()))
    table.add_row("State and logs", str(settings.state_dir))
    return table
