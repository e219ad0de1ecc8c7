"""What workflows do while the ledger is away, and when it will never take what they have to say."""

from tests.workflows.shop import Shop, event_types, until
from workflows.retry import LONGEST_PAUSE


class TestWhileTheLedgerIsAway:
    async def test_a_release_waits_and_nothing_is_lost(self, shop: Shop) -> None:
        async with shop.node_online():
            shop.ledger.away = True
            po = await shop.stage()
            await shop.scan()
            await until(lambda: shop.ledger.attempts > 5, lambda: "the record is tried again and again")
            assert shop.store.inbox() == []
            shop.ledger.away = False
            await po.is_("released")
        assert len(po.entries("confirm_arrival")) == len(po.entries("release_client_po")) == 1

    async def test_the_history_stays_short(self, shop: Shop) -> None:
        shop.ledger.away = True
        po = await shop.stage()
        await po.ask("hold")
        await until(lambda: shop.ledger.attempts > 5, lambda: "the record is tried again and again")
        assert len(event_types(await po.handle.fetch_history())) < 20
        shop.ledger.away = False
        await po.is_("hold")


class TestWhatTheLedgerRefusesForGood:
    async def test_is_alerted_and_waits_for_a_person(self, shop: Shop) -> None:
        shop.ledger.refuses = {"hold_client_po"}
        po = await shop.stage()
        await po.ask("hold")
        await po.recorded("record_refused")
        [alert] = shop.alerts("ledger_refused")
        assert "hold_client_po" in alert.text
        assert po.row["status"] == "awaiting_arrival"

    async def test_goes_on_when_it_is_mended(self, shop: Shop) -> None:
        shop.ledger.refuses = {"hold_client_po"}
        po = await shop.stage()
        await po.ask("hold")
        await po.recorded("record_refused")
        shop.ledger.refuses = set()
        assert len(shop.open_alerts("ledger_refused")) == 1
        await shop.pass_time(LONGEST_PAUSE)
        await po.is_("hold")
        assert shop.open_alerts("ledger_refused") == []
        await po.ask("resume")
        await po.is_("awaiting_arrival")
