"""The data folder and its lock: two servers on one folder would take each other's files for orphans.

Those that share a database may share the folder as well: they hold its lock together.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def locked_folder(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Make the data folder and hold its lock, which ends with our process, however that ends.

    With `shared`, others who do the same may hold it, too.

    Raises:
        ConfigurationError: the folder cannot be made or written, or another server works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise ConfigurationError(
            f"data_dir={folder}: {error.strerror}. Choose a folder that may be written, such as with --data-dir."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"data_dir={folder}: another penstock works in this folder. Stop it first, or have all of them "
                "share a PostgreSQL database (database_url)."
            ) from error
        yield
