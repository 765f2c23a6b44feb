"""One after the other: whoever works on an upload waits for those who came before."""

from __future__ import annotations

import asyncio


class _Queue:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class _Turn:
    """A context; as a class, since one that is made of a generator takes three times as long."""

    __slots__ = ("_key", "_queue", "_queues")

    def __init__(self, queues: dict[str, _Queue], key: str) -> None:
        self._queues = queues
        self._key = key
        self._queue: _Queue | None = None

    async def __aenter__(self) -> None:
        queue = self._queues.get(self._key)
        if queue is None:
            queue = self._queues[self._key] = _Queue()
        queue.users += 1
        self._queue = queue
        try:
            await queue.lock.acquire()
        except BaseException:
            self._leave(queue)
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        queue = self._queue
        if queue is not None:
            queue.lock.release()
            self._leave(queue)

    def _leave(self, queue: _Queue) -> None:
        queue.users -= 1
        if not queue.users:
            del self._queues[self._key]


class Turns:
    """A queue for each key that somebody uses; the first to ask is the first to get it. Nothing stays behind."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def of(self, key: str) -> _Turn:
        """Wait for the key's turn; it lasts as long as the context. Not to be asked for twice by the same task."""
        return _Turn(self._queues, key)
