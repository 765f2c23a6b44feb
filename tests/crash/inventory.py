"""What lies on the disk and in a bucket, compared with the catalogue: nothing is lost, doubled or left behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from penstock.uploads.upload import Phase
from tests.servers.s3 import S3Server

STAGED = {Phase.RECEIVING, Phase.PROCESSING, Phase.REJECTED}


def check_inventory(
    data_dir: Path, s3: S3Server | None = None, bucket: str = "", *, prefix: str = "", staged_here: bool = True
) -> None:
    """Compare everything that there is with what there is to be: each upload's bytes in one place, in one copy.

    Args:
        data_dir: the server's folder; it may run, but nothing may be under way.
        s3: where released bytes are; None: in the folder.
        bucket: its bucket.
        prefix: what the names of all objects begin with.
        staged_here: whether bytes on their way in are in the folder; else in the bucket.
    """
    known = _known(data_dir)
    staged = {upload for upload, (phase, _) in known.items() if phase in STAGED}
    released = {upload for upload, (phase, _) in known.items() if phase is Phase.RELEASED}
    on_disk = _on_disk(data_dir)
    assert on_disk.keys() == {f"staged/{upload}" for upload in (staged if staged_here else set())} | {
        f"released/{upload}" for upload in (released if s3 is None else set())
    }
    sizes = {name.partition("/")[2]: size for name, size in on_disk.items()}
    if s3 is not None:
        objects = {key.removeprefix(prefix): len(s3.content(bucket, key) or b"") for key in s3.keys(bucket)}
        assert s3.unfinished(bucket) == []
        heads = {key.split("/")[1] for key in objects if key.startswith("staging/")}
        assert heads == (set() if staged_here else staged)
        final = {key: size for key, size in objects.items() if not key.startswith("staging/")}
        assert final.keys() == released
        sizes |= final
    for upload, size_bytes in sizes.items():
        phase, announced = known[upload]
        if phase is Phase.RECEIVING:
            assert announced is None or size_bytes <= announced
        else:
            assert size_bytes == announced, (upload, phase)


def _known(data_dir: Path) -> Mapping[str, tuple[Phase, int | None]]:
    with closing(sqlite3.connect(f"file:{data_dir / 'penstock.db'}?mode=ro", uri=True)) as database:
        (left,) = database.execute("SELECT count(*) FROM uploads WHERE discard_pending").fetchone()
        assert left == 0, "bytes were to be removed, and nobody did it"
        assert database.execute("SELECT upload_id FROM orphans").fetchall() == []
        rows = database.execute("SELECT id, phase, size_bytes FROM uploads").fetchall()
    return {upload: (Phase(phase), size_bytes) for upload, phase, size_bytes in rows}


def _on_disk(data_dir: Path) -> dict[str, int]:
    """Return all files in the folders for bytes, whatever they are called: `<stage>/<name>`, and their sizes."""
    root = data_dir / "blobs"
    files = [path for path in root.rglob("*") if path.is_file()]
    return {f"{path.relative_to(root).parts[0]}/{path.name}": path.stat().st_size for path in files}
