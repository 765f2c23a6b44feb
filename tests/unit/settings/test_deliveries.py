from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings.deliveries import Chosen, Deliveries, Volumes

HERE = Path("/here")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("virusscan=path", {"virusscan": Chosen("path", "penstock")}),
        ("a=path:lab-1, b=pull", {"a": Chosen("path", "lab-1"), "b": Chosen("pull")}),
        ("a=presigned", {"a": Chosen("presigned")}),
        ("ocr=push:https://worker:8443/files/", {"ocr": Chosen("push", "https://worker:8443/files", "put")}),
        ("a=pull:one-time", {"a": Chosen("pull", "one-time")}),
        ("ocr=push:tus+https://worker/files/", {"ocr": Chosen("push", "https://worker/files/", "tus")}),
        (
            "ocr=push-on-request:form+https://worker/files/",
            {"ocr": Chosen("push-on-request", "https://worker/files/", "form")},
        ),
        ("ocr=push:https://worker/a+b", {"ocr": Chosen("push", "https://worker/a+b", "put")}),
        ("ocr=push-on-request:http://[::1]:1/x=y", {"ocr": Chosen("push-on-request", "http://[::1]:1/x=y", "put")}),
        ("", {}),
    ],
)
def test_reads_and_shows(text: str, chosen: dict[str, Chosen]) -> None:
    kind = Deliveries()
    found = kind.from_text(text, HERE)
    assert found == chosen
    assert kind.from_text(kind.show(found), HERE) == chosen


def test_a_table_is_taken() -> None:
    assert Deliveries().from_toml({"ocr": "pull"}, HERE) == {"ocr": Chosen("pull")}
    with pytest.raises(ValueError, match="in quotes"):
        Deliveries().from_toml({"ocr": 1}, HERE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ocr", "not one name"),
        ("ocr=", "not one name"),
        ("ocr=carry", "no way of delivery"),
        ("a=pull,a=path", "listed twice"),
        ("a=path:UP", "name of a volume"),
        ("a=pull:x", "takes nothing more"),
        ("a=pull:x", "or a=pull:one-time"),
        ("a=push:ftp+https://x/", "needs the address"),
        ("a=push:tus+", "needs the address"),
        ("a=push", "needs the address"),
        ("a=push:ftp://x/", "needs the address"),
        ("a=push:https://user:pw@x/", "needs the address"),
        ("a=push:https://x/?y=1", "needs the address"),
        ("a=push:https://x:99999/", "needs the address"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Deliveries().from_text(text, HERE)


def test_volumes_are_folders() -> None:
    found = Volumes().from_text("a=/mnt/a,b=c", HERE)
    assert found == {"a": Path("/mnt/a"), "b": Path("/here/c")}
    assert Volumes().show(found) == "a=/mnt/a,b=/here/c"
    with pytest.raises(ValueError, match="name of a volume"):
        Volumes().from_text("A=/x", HERE)
