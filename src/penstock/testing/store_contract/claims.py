"""The suites that backends derive from."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

import pytest

from ...store.base import RevisionConflict, Saved
from ...store.layout import BadRecord
from .changes import SeveralWriters, SingleRecords
from .model import AgainstAModel
from .queries import Lists, Timers
from .records import NOW, SECOND, collect, count_up, full_record, ids_of, record, save_all

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ...store.base import ProgressStore


class StoreContract(SingleRecords, SeveralWriters, Timers, Lists, AgainstAModel):
    """For every store that remembers."""


class KeepsOrder(StoreContract):
    """For stores that list records in the order in which they were first saved."""

    async def test_the_oldest_record_comes_first(self) -> None:
        async with self.open_store() as store:
            uploads = [f"u{(number * 7919) % 1009}" for number in range(1009)]
            revisions = await save_all(store, *map(record, uploads))
            for number in range(0, 1009, 3):  # a change does not move it
                await store.save(record(uploads[number], failures=1), expected=revisions[number])
            assert await collect(store.all()) == uploads
            assert await collect(store.in_step("virusscan")) == uploads
            saved = await store.get(uploads[0])
            assert saved is not None
            await store.delete(uploads[0], expected=saved.revision)
            await store.save(record(uploads[0]), expected=None)
            assert await collect(store.all()) == [*uploads[1:], uploads[0]]


class RefusesForeignValues(StoreContract):
    """For stores in which somebody else can put something under an upload's key."""

    async def put(self, upload_id: str, value: bytes) -> None:
        """Replace the saved value of a record, behind the store's back."""
        raise NotImplementedError

    async def test_what_is_no_record_is_refused_alone_and_left_out_among_many(self) -> None:
        async with self.open_store() as store:
            await save_all(store, *(record(f"u{number}", due=-number * SECOND) for number in range(5)))
            await self.put("u1", b"\x00no record")
            await self.put("u3", b'{"Filesize":"5"}')
            for upload in ("u1", "u3"):
                with pytest.raises(BadRecord):
                    await store.get(upload)
            assert sorted(await store.get_many(["u0", "u1", "u2"])) == ["u0", "u2"]
            assert sorted(await collect(store.all())) == ["u0", "u2", "u4"]
            assert sorted(await collect(store.in_step("virusscan"))) == ["u0", "u2", "u4"]
            assert ids_of(await store.due(NOW, limit=10)) == ["u4", "u2", "u0"]


class DurableStoreContract(StoreContract):
    """For stores that outlive the process and can be open in several at a time."""

    factory: ClassVar[str]
    """`module:function` of what opens a store: it takes `argument()`, also in another process."""

    def argument(self) -> str:
        """Return which store the test is about."""
        raise NotImplementedError

    def open_store(self) -> AbstractAsyncContextManager[ProgressStore]:
        """Open the store of this test, as another process would."""
        return open_by_name(self.factory, self.argument())

    async def test_all_is_there_after_closing_and_opening_again(self) -> None:
        async with self.open_store() as store:
            revisions = await save_all(store, full_record("u1"), record("u2", due=SECOND), record("u3"))
            await store.delete("u3", expected=revisions[2])
            await store.remember_answer("virusscan", NOW)
        async with self.open_store() as store:
            assert await store.get("u1") == Saved(full_record("u1"), revisions[0])
            assert sorted(await collect(store.all())) == ["u1", "u2"]
            assert await store.next_due() == NOW + SECOND
            assert await store.answered() == {"virusscan": NOW}
            await store.save(record("u2", failures=1), expected=revisions[1])

    async def test_two_instances_see_and_respect_each_others_changes(self) -> None:
        async with self.open_store() as one, self.open_store() as other:
            revision = await one.save(record("u1"), expected=None)
            assert await other.get("u1") == Saved(record("u1"), revision)
            await other.save(record("u1", failures=1), expected=revision)
            with pytest.raises(RevisionConflict):
                await one.save(record("u1"), expected=revision)
            with pytest.raises(RevisionConflict):
                await one.delete("u1", expected=revision)

    async def test_no_change_is_lost_when_two_instances_count_together(self) -> None:
        async with self.open_store() as one, self.open_store() as other:
            await one.save(record("u1"), expected=None)
            await asyncio.gather(*(count_up(store, "u1", 10) for store in (one, other) * 3))
            saved = await one.get("u1")
            assert saved is not None
            assert saved.progress.failures == 60

    @pytest.mark.parametrize("after", [1, 40, 400])
    async def test_what_was_saved_survives_kill_9(self, after: int) -> None:
        async with self.open_store():
            pass  # creating it is not what this is about
        lines = await self._save_until_killed(after)
        told = dict(line.decode().split() for line in lines)
        async with self.open_store() as store:
            held = {saved.progress.upload_id: saved.progress.failures async for saved in store.all()}
            assert set(told) - set(held) == set()
            assert {upload for upload, failures in told.items() if held[upload] < int(failures)} == set()
            await store.save(record("and it still works"), expected=None)

    async def _save_until_killed(self, after: int) -> list[bytes]:
        """Have another process save, kill it in the middle of that, and return what it had told of."""
        saver = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "penstock.testing.store_contract.saver", self.factory, self.argument()),
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=asyncio.subprocess.PIPE,
        )
        assert saver.stdout is not None
        try:
            lines = [await saver.stdout.readline() for _ in range(after)]
        finally:
            saver.kill()
        lines += (await saver.stdout.read()).splitlines(keepends=True)
        assert await saver.wait() == -signal.SIGKILL
        complete = [line for line in lines if line.endswith(b"\n")]
        assert len(complete) >= after
        return complete


def open_by_name(factory: str, argument: str) -> AbstractAsyncContextManager[ProgressStore]:
    """Open a store as `DurableStoreContract.factory` says."""
    module, _, function = factory.partition(":")
    opened: AbstractAsyncContextManager[ProgressStore] = getattr(import_module(module), function)(argument)
    return opened
