"""What every store of progress must do. A backend's test class derives from the suites that it claims to pass.

`StoreContract` is for all that remember; `DurableStoreContract` adds what must hold when the store outlives the
process and is shared by several::

    class TestMyStore(DurableStoreContract):
        factory = "my_tests.test_my_store:open_store"

        def argument(self) -> str:
            return "where the store of this test is"

    def open_store(argument: str) -> AbstractAsyncContextManager[ProgressStore]: ...

Two further claims are classes of their own, to derive from as well: `KeepsOrder`, and `RefusesForeignValues` for who
can be tricked into holding something that is no record.
"""

from __future__ import annotations

from .claims import DurableStoreContract, KeepsOrder, RefusesForeignValues, StoreContract

__all__ = ["DurableStoreContract", "KeepsOrder", "RefusesForeignValues", "StoreContract"]
