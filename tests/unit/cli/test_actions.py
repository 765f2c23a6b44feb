from __future__ import annotations

import json
from typing import Any

import pytest
import typer

from penstock.cli.actions import report


def row(*, ok: bool = True) -> dict[str, Any]:
    return {"id": "1", "filename": "f", "action": "resume", "step": "ocr", "ok": ok, "detail": "said why"}


def test_all_done(capsys: pytest.CaptureFixture[str]) -> None:
    report([row(), row()], as_json=False)
    out, err = capsys.readouterr()
    assert out.count("done") == 2
    assert err == ""


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("results", "status", "said"),
    [
        ([], 3, "penstock: nothing matched: no upload was acted on.\n"),
        ([row(), row(ok=False)], 4, "penstock: 1 of 2 uploads were left as they are; the table says why.\n"),
    ],
)
def test_nothing_and_something_left_have_a_status_of_their_own(
    capsys: pytest.CaptureFixture[str], results: list[dict[str, Any]], status: int, said: str, as_json: bool
) -> None:
    with pytest.raises(typer.Exit) as ended:
        report(results, as_json=as_json)
    assert ended.value.exit_code == status
    out, err = capsys.readouterr()
    assert err == said
    if as_json:
        assert json.loads(out) == {"results": results}
    else:
        assert out.count("said why") == len(results)
