from __future__ import annotations

import pytest

from penstock.delivery.volumes import OnVolume, read, write

SHA = "0" * 64


@pytest.mark.parametrize("parts", [("a",), ("staged", "3f", "3f2a"), ("a b", "ü%2e", "q?#&")])
def test_what_is_written_is_read(parts: tuple[str, ...]) -> None:
    file = OnVolume("lab-1", parts, 5, SHA)
    assert read(write(file)) == file


@pytest.mark.parametrize(
    "url",
    [
        "file:///a",
        f"volume://v/../a?size=1&sha256={SHA}",
        f"volume://v/%2e%2e/a?size=1&sha256={SHA}",
        f"volume://v/a%2f..%2fb?size=1&sha256={SHA}",
        f"volume://v//a?size=1&sha256={SHA}",
        f"volume://v/?size=1&sha256={SHA}",
        f"volume://v/a%00?size=1&sha256={SHA}",
        f"volume://v/%ff?size=1&sha256={SHA}",
        f"volume://v:1/a?size=1&sha256={SHA}",
        f"volume://u@v/a?size=1&sha256={SHA}",
        f"volume:///a?size=1&sha256={SHA}",
        "volume://v/a",
        f"volume://v/a?size=-1&sha256={SHA}",
        f"volume://v/a?size=&sha256={SHA}",
        "volume://v/a?size=1&sha256=abc",
        f"volume://v/a?size=1&sha256={SHA}#x",
    ],
)
def test_what_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(url)
