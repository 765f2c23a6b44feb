from __future__ import annotations

import pytest

from penstock.core import media_types
from penstock.core.media_types import media_type_of


@pytest.mark.parametrize(
    ("filename", "media_type"),
    [
        ("a.jpg", "image/jpeg"),
        ("A.JPEG", "image/jpeg"),
        ("sheet.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        (".png", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ],
)
def test_the_ending_tells(filename: str, media_type: str) -> None:
    assert media_type_of(filename) == media_type


def test_no_ending_has_two_types() -> None:
    endings = [ending for listed in media_types._ENDINGS.values() for ending in listed.split()]
    assert len(endings) == len(set(endings))
    assert all(ending == ending.lower() for ending in endings)
