"""Dies before and after the calls of every port, at known places, and starts again: every upload ends as it should.

What `test_kill` finds by chance sooner or later is gone through here one by one. Each case is a real process that ends
itself with SIGKILL; the next one, on the same data folder, has to bring everything to its end without help.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.core.progress import State
from penstock.uploads.upload import Phase

from .files import FILES, File
from .forks import Forks
from .inventory import check_inventory
from .life import Fate, Order, Report, Told, points, report
from .points import Death

POINTS = """
    blobs.append
    blobs.append.seal
    blobs.append.write
    blobs.create
    blobs.create.then
    blobs.discard
    blobs.free_bytes
    blobs.length
    blobs.path
    blobs.release
    blobs.seal
    blobs.staged
    blobs.unstage
    bus.listen
    bus.pending
    bus.publish BytesReceived
    bus.publish CancelPostprocessing
    bus.publish Finished abort
    bus.publish Finished continue
    bus.publish Finished delete
    bus.publish Retry
    bus.publish Start delay
    bus.publish Start trouble
    bus.publish Start virusscan
    bus.publish StepFinished trouble abort
    bus.publish StepFinished trouble continue
    bus.publish StepFinished trouble retry
    bus.publish StepFinished virusscan continue
    bus.publish StepFinished virusscan delete
    bus.publish UploadReady
    bus.subscribe
    bus.subscribe.handler BytesReceived
    bus.subscribe.handler CancelPostprocessing
    bus.subscribe.handler Finished abort
    bus.subscribe.handler Finished continue
    bus.subscribe.handler Finished delete
    bus.subscribe.handler Retry
    bus.subscribe.handler Start delay
    bus.subscribe.handler Start delay by another
    bus.subscribe.handler Start trouble
    bus.subscribe.handler Start trouble by another
    bus.subscribe.handler Start virusscan
    bus.subscribe.handler Start virusscan by another
    bus.subscribe.handler StepFinished trouble abort
    bus.subscribe.handler StepFinished trouble abort by another
    bus.subscribe.handler StepFinished trouble continue
    bus.subscribe.handler StepFinished trouble continue by another
    bus.subscribe.handler StepFinished trouble retry
    bus.subscribe.handler StepFinished trouble retry by another
    bus.subscribe.handler StepFinished virusscan continue
    bus.subscribe.handler StepFinished virusscan continue by another
    bus.subscribe.handler StepFinished virusscan delete
    bus.subscribe.handler StepFinished virusscan delete by another
    bus.subscribe.handler UploadReady
    catalogue.add
    catalogue.add.first
    catalogue.change processing > cancelled
    catalogue.change processing > deleted
    catalogue.change processing > rejected
    catalogue.change processing > released
    catalogue.change receiving > processing
    catalogue.check
    catalogue.declared_bytes
    catalogue.discarded
    catalogue.get
    catalogue.gone_before
    catalogue.list
    catalogue.note retry trouble
    catalogue.note step_finished trouble abort
    catalogue.note step_finished trouble continue
    catalogue.note step_finished trouble retry
    catalogue.note step_finished virusscan continue
    catalogue.note step_finished virusscan delete
    catalogue.note step_started delay
    catalogue.note step_started trouble
    catalogue.note step_started virusscan
    catalogue.overdue
    catalogue.reserve
    catalogue.runs_in_processing
    catalogue.to_discard
    catalogue.waiting_finals
    store.all
    store.delete
    store.due
    store.get
    store.in_step
    store.next_due
    store.remember_answer
    store.save backoff trouble
    store.save delay delay
    store.save finished abort
    store.save finished continue
    store.save finished delete
    store.save step trouble
    store.save step virusscan
"""
"""Where lives meet death: all calls that an untroubled one makes, told apart by what they are about."""

NOW_AND_THEN = {"catalogue.is_written"}
"""Calls that an untroubled life may make: it looks for a start that comes after the end of its upload."""

LATER = {
    "blobs.append.seal": (4,),
    "blobs.append.write": (20,),
    "blobs.discard": (2,),
    "blobs.length": (9,),
    "bus.publish BytesReceived": (4,),
    "catalogue.change receiving > processing": (4,),
    "catalogue.get": (30,),
    "store.delete": (3,),
    "store.get": (3,),
}
"""Points that are met at a later call as well, when other uploads are under way."""

MIDDLE = Death("after", "blobs.append.seal", 4)
"""Leaves uploads in all kinds of states behind: what comes after it has a lot to do."""
POINTS_OF_RECOVERY = """
    blobs.release
    blobs.seal
    bus.publish BytesReceived
    bus.publish Finished continue
    bus.publish Start trouble
    bus.publish UploadReady
    bus.subscribe.handler Finished continue
    catalogue.change processing > released
    catalogue.change receiving > processing
    catalogue.is_written
    catalogue.list
    catalogue.phases
    catalogue.runs_in_processing
    store.all.next
    store.delete
    store.get_many
    store.save finished continue
    store.save step trouble
"""
"""Where the next life is met that makes good what the death has left undone."""

ONCE = {"created", "received", "decided", *(phase.value for phase in Phase if phase.ended)}
"""What happens to an upload at most once."""


def deaths(points: str, later: Mapping[str, tuple[int, ...]]) -> list[Death]:
    return [
        Death(when, point, number)
        for point in _lines(points)
        for number in (1, *later.get(point, ()))
        for when in ("before", "after")
    ]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def test_an_untroubled_life_comes_by_all_points(forks: Forks, folder: Path) -> None:
    assert forks.live(Order(str(folder))) == 0, last_words(folder)
    counted = points(folder)
    known = _lines(POINTS)
    assert not [point for point in known if counted[point] < max(LATER.get(point, (1,)))]
    # To ask an iterator for the next item is a call as well, but here they have none: beginning and end are enough.
    calls = {point.split()[0] for point in counted if not point.split()[0].endswith(".next")}
    assert calls - NOW_AND_THEN == {point.split()[0] for point in known}
    assert forks.live(Order(str(folder), is_last=True)) == 0, last_words(folder)
    check_outcomes(folder)


@pytest.mark.parametrize("death", deaths(POINTS, LATER), ids=str)
def test_death_loses_nothing(forks: Forks, folder: Path, death: Death) -> None:
    assert forks.live(Order(str(folder), death)) == -signal.SIGKILL, last_words(folder)
    check_next_life(forks, folder)


@pytest.mark.parametrize("death", deaths(POINTS_OF_RECOVERY, {}), ids=str)
def test_death_while_recovering_loses_nothing(forks: Forks, folder: Path, death: Death) -> None:
    assert forks.live(Order(str(folder), MIDDLE)) == -signal.SIGKILL, last_words(folder)
    assert forks.live(Order(str(folder), death, is_last=True)) == -signal.SIGKILL, last_words(folder)
    check_next_life(forks, folder)


def check_next_life(forks: Forks, folder: Path) -> None:
    told = Told(folder)
    assert forks.live(Order(str(folder), is_last=True)) == 0, last_words(folder)
    check_kept(told, report(folder))
    check_outcomes(folder)


def check_kept(told: Told, said: Report) -> None:
    """What a client was told before is so after the death: nobody has to send a byte twice that was acknowledged."""
    for file in FILES.values():
        if told.last(file.name, "complete"):
            assert file.name not in said.found, file
        if file.name in said.found:
            assert said.prefixes[file.name], file
            assert int(told.last(file.name, "offset") or 0) <= said.found[file.name] <= len(file.content), file
        upload_id = told.last(file.name, "id")
        assert upload_id in (None, *said.fates[file.name].upload_ids), file


def check_outcomes(folder: Path, *, released_here: bool = True) -> None:
    said = report(folder)
    rejected = {
        file.name: said.fates[file.name].upload_ids[0] for file in FILES.values() if file.ends is Phase.REJECTED
    }
    assert said.records == dict.fromkeys(rejected, State.FAILED)
    assert set(said.staged) == set(rejected.values())
    for file in FILES.values():
        check_fate(file, said.fates[file.name])
    if released_here:
        check_inventory(folder / "data")
    assert Told(folder).last("infected", "seen") is None, "an infected file went on to the next step"


def check_fate(file: File, fate: Fate) -> None:
    assert fate.phase == file.ends, (file, fate)
    assert len(fate.upload_ids) == 1, (file, fate)
    if file.ends is Phase.RELEASED:
        assert fate.sha256 == hashlib.sha256(file.content).hexdigest(), (file, fate)
    else:
        assert fate.readable is (file.ends is Phase.REJECTED), (file, fate)
    assert fate.reason == file.reason, (file, fate)
    if file.has_virus:
        assert fate.scan is not None, (file, fate)
        assert (fate.scan.infected, fate.scan.signature) == (True, "EICAR_Test_File"), (file, fate)
    assert fate.story[0] == "created", (file, fate)
    assert fate.story[-1] == file.ends, (file, fate)
    assert all(fate.story.count(kind) <= 1 for kind in ONCE), (file, fate)
    assert file.name == "retried" or "retry" not in fate.story, (file, fate)


def last_words(folder: Path, lines: int = 40) -> str:
    log = folder / "log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "nothing was said"
