from __future__ import annotations

from datetime import timedelta

import pytest

from penstock.cli.transfer.patience import GaveUp, Patience
from tests.unit.cli.hasty_clock import HastyClock


async def test_pauses_double_up_to_ten_seconds_and_end_in_time() -> None:
    clock = HastyClock()
    patience = Patience(timedelta(minutes=2), clock=clock)

    async def try_for_ever() -> None:
        while True:
            await patience.pause("f", "connection refused")

    with pytest.raises(GaveUp) as error:
        await try_for_ever()
    assert str(error.value) == ("f: no progress for 2m: connection refused. Run the same command again to go on.")
    assert clock.seconds == pytest.approx(120)
    for number, seconds in enumerate(clock.pauses[:-1]):
        whole = min(0.2 * 2**number, 10)
        assert whole / 2 <= seconds <= whole


async def test_progress_begins_anew() -> None:
    clock = HastyClock()
    patience = Patience(timedelta(seconds=60), clock=clock)
    for _ in range(100):
        await patience.pause("f", "slow")
        patience.progress()
    assert max(clock.pauses) <= 0.2


async def test_a_server_may_ask_for_more_but_not_for_any_pause() -> None:
    clock = HastyClock()
    patience = Patience(timedelta(hours=1), clock=clock)
    await patience.pause("f", "busy", asked_seconds=7)
    await patience.pause("f", "busy", asked_seconds=86400)
    assert clock.pauses == [7, 60]


async def test_no_pause_is_longer_than_what_is_left() -> None:
    clock = HastyClock()
    patience = Patience(timedelta(seconds=5), clock=clock)
    await patience.pause("f", "busy", asked_seconds=60)
    assert clock.pauses == [5]
    with pytest.raises(GaveUp):
        await patience.pause("f", "busy")
