"""What stands in front of a port and passes its calls on, with the trouble that is planned for them."""

from __future__ import annotations

import inspect
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from .faults import Call, Faults

_PLAIN = (type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset)


class Proxy:
    """Behaves as the port behind it; also for isinstance, so that its abilities are found."""

    __slots__ = ("_faults", "_name", "_port")

    def __init__(self, faults: Faults, name: str, port: object) -> None:
        object.__setattr__(self, "_faults", faults)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_port", port)

    @property
    def __class__(self) -> type:
        """The class of the port."""
        return type(self._port)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError(f"{self._name} keeps its class, not {value}")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        return _passing_on(self._faults, f"{self._name}.{name}", value) if callable(value) else value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._port, name, value)

    def __repr__(self) -> str:
        return f"<{self._name}, with faults, around {self._port!r}>"

    async def __aenter__(self) -> Any:
        call = self._faults.begin(f"{self._name}.__aenter__")
        await self._faults.meet(call.before)
        entered = await self._port.__aenter__()
        await self._faults.meet(call.after)
        return self if entered is self._port else entered

    async def __aexit__(self, *exc_info: object) -> Any:
        # Also after death: a test must not leak what the port holds open.
        return await self._port.__aexit__(*exc_info)


def _passing_on(faults: Faults, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what to call in the place of `function`."""
    if _is_coroutine_function(function):

        async def awaited(*arguments: Any, **named: Any) -> Any:
            arguments, named = _watched(faults, name, function, arguments, named)
            return await _awaited(faults, faults.begin(name, arguments, named), lambda: function(*arguments, **named))

        return awaited

    def called(*arguments: Any, **named: Any) -> Any:
        arguments, named = _watched(faults, name, function, arguments, named)
        call = faults.begin(name, arguments, named)
        # Whether something awaitable will come out is not known yet; nothing has happened until it is awaited.
        waits = tuple(action for action in call.before if action.strike is None)
        faults.strike(name, (action for action in call.before if action.strike is not None))
        result = function(*arguments, **named)
        if hasattr(result, "__aenter__"):
            return _Entered(faults, call, waits, result)
        if hasattr(result, "__anext__"):
            return _iterated(faults, call, waits, result)
        if inspect.isawaitable(result):
            return _awaited_once(faults, call, waits, result)
        faults.strike(name, waits)
        faults.strike(name, call.after)
        return result

    return called


async def _awaited(faults: Faults, call: Call, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    await faults.meet(call.before)
    result = await make()
    for _ in range(call.repeats):
        result = await make()
    faults.check_alive()  # somebody else may have died meanwhile: then nobody learns of this any more
    await faults.meet(call.after)
    return result


async def _awaited_once(faults: Faults, call: Call, waits: tuple[Any, ...], result: Any) -> Any:
    await faults.meet(waits)
    value = await result
    faults.check_alive()
    await faults.meet(call.after)
    return value


async def _iterated(
    faults: Faults, call: Call, waits: tuple[Any, ...], items: AsyncIterator[Any]
) -> AsyncGenerator[Any, None]:
    await faults.meet(waits)
    try:
        while True:
            step = faults.begin(f"{call.name}.next")
            await faults.meet(step.before)
            try:
                item = await anext(items)
            except StopAsyncIteration:
                break
            await faults.meet(step.after)
            yield item
    finally:
        if isinstance(items, AsyncGeneratorType):
            await items.aclose()
    await faults.meet(call.after)


class _Entered:
    """An asynchronous context manager that a method has returned."""

    def __init__(
        self, faults: Faults, call: Call, waits: tuple[Any, ...], context: AbstractAsyncContextManager[Any]
    ) -> None:
        self._faults = faults
        self._call = call
        self._waits = waits
        self._context = context

    async def __aenter__(self) -> Any:
        await self._faults.meet(self._waits)
        entered = await self._context.__aenter__()
        return entered if isinstance(entered, _PLAIN) else self._faults.wrap(self._call.name, entered)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        swallowed = await self._context.__aexit__(kind, error, trace)
        if kind is None:
            await self._faults.meet(self._call.after)
        return swallowed


def _watched(
    faults: Faults, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put a watch on coroutine functions among the arguments, such as a handler for events; and on a `then`."""
    if not any(map(callable, (*arguments, *named.values()))):
        return arguments, named
    bound = inspect.signature(function).bind(*arguments, **named)
    for parameter, value in bound.arguments.items():
        if _is_coroutine_function(value) or (parameter == "then" and callable(value)):
            bound.arguments[parameter] = _passing_on(faults, f"{name}.{parameter}", value)
    return bound.args, bound.kwargs


def _is_coroutine_function(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or (
        callable(value) and not isinstance(value, type) and inspect.iscoroutinefunction(type(value).__call__)
    )
