"""Which calls meet trouble, and how often each call was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from .actions import Action, Killed
from .proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")
When = Literal["before", "after"]


@dataclass(slots=True)
class _Planned:
    """Trouble for one call, or for each call, of one name."""

    when: When
    action: Action
    number: int | None
    where: Callable[..., bool] | None
    seen: int = 0

    def is_for(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Count a call, and tell whether this is the one."""
        if self.where is not None and not self.where(*arguments, **named):
            return False
        self.seen += 1
        return self.number is None or self.seen == self.number


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made, and what is to happen to it."""

    name: str
    before: tuple[Action, ...] = ()
    after: tuple[Action, ...] = ()
    repeats: int = 0


@dataclass
class Faults:
    """Plans trouble, and wraps the ports that meet it.

    Calls are named `port.method`, such as `store.save`. What they return is followed:

    - "after" a call that gives an asynchronous context manager is when that was left without an error. Methods of what
      it gave are named behind it: `blobs.append.write`.
    - "after" a call that gives an asynchronous iterator is at its end. Each item is a call of `store.all.next`.
    - coroutine functions among the arguments are named by their parameter: `bus.subscribe.handler`; so is any function
      that is called `then`, which a thread goes on with.
    """

    counts: Counter[str] = field(default_factory=Counter)
    """How often each call was made."""
    is_dead: bool = False
    """Whether `die` has struck."""
    _planned: dict[str, list[_Planned]] = field(default_factory=dict)
    _repeats: dict[str, int] = field(default_factory=dict)

    def wrap(self, name: str, port: T) -> T:
        """Return what behaves as `port`, but for the trouble that is planned for `name`."""
        return cast("T", Proxy(self, name, port))

    def before(
        self, call: str, action: Action, *, number: int | None = None, where: Callable[..., bool] | None = None
    ) -> None:
        """Plan trouble before the call is made: it has no effect, unless the trouble is a delay.

        Args:
            call: its name.
            action: what happens.
            number: which call, counted from 1 and from now on; None: each one.
            where: takes the call's arguments and tells whether it counts; None: each one does.
        """
        self._plan(call, "before", action, number, where)

    def after(
        self, call: str, action: Action, *, number: int | None = None, where: Callable[..., bool] | None = None
    ) -> None:
        """Plan trouble after the call has taken effect, and before its caller learns of that. As `before` otherwise."""
        self._plan(call, "after", action, number, where)

    def repeat(self, call: str, times: int = 1) -> None:
        """Make each awaited call `times` more times with the same arguments; what the last one says counts."""
        self._repeats[call] = times

    def begin(self, name: str, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None) -> Call:
        """Count a call and return what is to happen to it.

        Raises:
            Killed: `die` has struck already.
        """
        self.check_alive()
        self.counts[name] += 1
        planned = self._planned.get(name, ())
        due = [(one.when, one.action) for one in planned if one.is_for(arguments, named or {})]
        return Call(
            name,
            tuple(action for when, action in due if when == "before"),
            tuple(action for when, action in due if when == "after"),
            self._repeats.get(name, 0),
        )

    def strike(self, name: str, actions: Iterable[Action]) -> None:
        """Let what happens at once happen, in a call that is not awaited.

        Raises:
            TypeError: the trouble would have to be waited for.
        """
        for action in actions:
            if action.strike is None:
                raise TypeError(f"{name} is not awaited: it can fail or die, but not wait")
            self._strike(action)

    async def meet(self, actions: Iterable[Action]) -> None:
        """Let trouble happen."""
        for action in actions:
            if action.wait is not None:
                await action.wait()
            self.check_alive()
            self._strike(action)

    def check_alive(self) -> None:
        """Do nothing, before `die` has struck.

        Raises:
            Killed: after that.
        """
        if self.is_dead:
            raise Killed

    def _strike(self, action: Action) -> None:
        if action.is_death:
            self.is_dead = True
        if action.strike is not None:
            action.strike()

    def _plan(
        self, call: str, when: When, action: Action, number: int | None, where: Callable[..., bool] | None
    ) -> None:
        self._planned.setdefault(call, []).append(_Planned(when, action, number, where))
