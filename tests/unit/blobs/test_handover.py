"""How far a release is: what is said of it, to whom, and how often."""

from __future__ import annotations

import pytest
import structlog

from penstock.blobs.handover import LOGGED_SECONDS, TOLD_SECONDS, Handover, Handovers, HandoverStage, handovers_of

MIB = 1024 * 1024
SIZE = 30 * MIB
UPLOAD = "a" * 32


class Watch:
    """The time, and what a watcher was told."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.told = 0
        self.handovers = Handovers(lambda: self.seconds)

    def tell(self) -> None:
        self.told += 1


def test_a_share_counts_each_time_that_the_bytes_are_gone_through() -> None:
    shares = [Handover(stage, done, 30).fraction for stage in HandoverStage for done in (0, 15, 30)]
    assert shares[::3] == pytest.approx([0, 0, 1 / 3, 2 / 3])
    assert shares[3:] == sorted(shares[3:])
    assert shares[-1] == pytest.approx(1)
    assert Handover(HandoverStage.VERIFYING, 0, 0).fraction <= 1


def test_what_is_on_its_way_is_known_for_as_long_as_it_is() -> None:
    watch = Watch()
    handovers = watch.handovers
    with handovers.watch(watch.tell), handovers.begin(UPLOAD, SIZE) as track:
        assert handovers.of(UPLOAD) == Handover(HandoverStage.WAITING, 0, SIZE)
        track.enters(HandoverStage.COPYING)
        track.to(MIB)
        assert handovers.all() == {UPLOAD: Handover(HandoverStage.COPYING, MIB, SIZE)}
        track.to(MIB - 1)
        track.to(2 * SIZE)
        assert handovers.of(UPLOAD) == Handover(HandoverStage.COPYING, SIZE, SIZE)
        told = watch.told
    assert handovers.of(UPLOAD) is None
    assert watch.told == told + 1
    with handovers.begin(UPLOAD, SIZE):
        assert watch.told == told + 1  # who watches no longer is told nothing


def test_small_files_are_not_worth_a_word() -> None:
    watch = Watch()
    with watch.handovers.watch(watch.tell), watch.handovers.begin(UPLOAD, MIB) as track:
        track.enters(HandoverStage.COPYING)
        track.to(MIB)
        assert watch.handovers.all() == {}
    assert watch.told == 0


def test_watchers_and_the_log_hear_of_it_now_and_then() -> None:
    watch = Watch()
    with structlog.testing.capture_logs() as logged, watch.handovers.begin(UPLOAD, SIZE) as track:
        track.enters(HandoverStage.COPYING)
        with watch.handovers.watch(watch.tell):
            for done in range(1, 11):
                watch.seconds += TOLD_SECONDS / 4
                track.to(done)
            assert watch.told == 2
        assert not logged
        watch.seconds = LOGGED_SECONDS
        track.to(SIZE // 2)
        track.to(SIZE // 2 + 1)
    assert [(line["event"], line["stage"], line["percent"]) for line in logged] == [("release_goes_on", "copying", 50)]


def test_one_that_is_done_again_meanwhile_is_not_forgotten_for_the_first() -> None:
    handovers = Handovers()
    with handovers.begin(UPLOAD, SIZE):
        second = handovers.begin(UPLOAD, SIZE)
        second.__enter__()
    assert handovers.of(UPLOAD) is not None
    second.__exit__(None, None, None)
    assert handovers.of(UPLOAD) is None


def test_a_store_that_copies_nothing_has_nothing_on_its_way() -> None:
    assert handovers_of(object()).all() == {}
