"""The web page in a real browser: files go in, and what becomes of them is seen without a reload."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Dialog, Page, Route, expect

from penstock.antivirus.eicar import eicar
from tests.servers.clamd import running_clamd
from tests.servers.penstock import PenstockServer

STEPS = """
import time
from pathlib import Path

from penstock import Outcome, StepUpload, step


@step("gate", workers=4)
def gate(upload: StepUpload) -> Outcome:
    while Path(__file__).with_name(upload.filename).exists() and not upload.cancelled:
        time.sleep(0.02)
    return Outcome.CONTINUE
"""


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with a name that is in here are held back."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gates: Path) -> Iterator[PenstockServer]:
    folder = tmp_path_factory.mktemp("server")
    (gates / "gate.py").write_text(STEPS)
    with PenstockServer(folder, "--steps", str(gates / "gate.py"), POSTPROCESSING_STEPS="virusscan,gate") as running:
        yield running


def choose(page: Page, *files: Path) -> None:
    page.locator("#pick").set_input_files([str(file) for file in files])


def test_files_are_seen_through_their_phases(page: Page, server: PenstockServer, gates: Path, tmp_path: Path) -> None:
    text, virus = tmp_path / "hello.txt", tmp_path / "virus.com"
    (gates / "hello.txt").touch()
    text.write_text("hello " * 100_000)
    virus.write_bytes(eicar())
    choose(page, text, virus)
    good = page.locator("tr", has_text="hello.txt")
    bad = page.locator("tr", has_text="virus.com")
    expect(good).to_have_attribute("data-phase", "processing")
    (gates / "hello.txt").unlink()
    expect(good).to_have_attribute("data-phase", "released")
    expect(bad).to_have_attribute("data-phase", "deleted")
    expect(bad).to_contain_text("EICAR_Test_File")
    expect(bad.locator(".phase")).to_have_attribute("title", re.compile("^infected · EICAR_Test_File · yara-x .* 68 B"))
    expect(good).to_contain_text(re.compile("clean · yara-x .* · signatures .* · 585.9 KiB scanned"))
    page.reload()
    expect(bad).to_contain_text("EICAR_Test_File")
    # Somebody else was faster, which the page has not heard of: that is no trouble.
    (deleted,) = page.request.get(f"{server.url}/api/v1/uploads?phase=deleted").json()["uploads"]
    assert page.request.post(f"{server.url}{deleted['links']['self']}/acknowledge").status == 204
    expect(bad).to_have_count(1)
    bad.get_by_role("button", name="Dismiss").click()
    expect(bad).to_have_count(0)
    page.reload()
    expect(good).to_have_attribute("data-phase", "released")
    expect(bad).to_have_count(0)
    with page.expect_download() as download:
        good.get_by_role("link", name="hello.txt").click()
    assert Path(download.value.path()).read_text() == text.read_text()
    page.once("dialog", lambda asked: asked.dismiss())
    good.get_by_role("button", name="Delete").click()
    expect(good).to_have_attribute("data-phase", "released")
    page.once("dialog", lambda asked: asked.accept())
    good.get_by_role("button", name="Delete").click()
    expect(good).to_have_attribute("data-phase", "cancelled")


def test_how_far_a_release_is_is_seen(page: Page, gates: Path, tmp_path: Path) -> None:
    """One that copies the file into another store; what a server would say of that is put in the mouth of this one."""
    page.add_init_script("""
        const RealSource = window.EventSource, realFetch = window.fetch;
        window.EventSource = class extends RealSource {
            constructor(...given) { super(...given); window.stream = this; }
        };
        window.fetch = async (url, options) => {
            const answer = await realFetch(url, options);
            if (!window.way?.stage || !String(url).endsWith(window.way.upload)) return answer;
            return new Response(JSON.stringify({ ...(await answer.json()), releasing: window.way }));
        };
        window.tell = (way) => {
            window.way = way;
            window.stream.dispatchEvent(new MessageEvent("releasing", { data: JSON.stringify(way) }));
        };
    """)
    page.reload()
    (gates / "huge.bin").touch()
    file = tmp_path / "huge.bin"
    file.write_bytes(bytes(1000))
    choose(page, file)
    row = page.locator("tr", has_text="huge.bin")
    expect(row).to_have_attribute("data-phase", "processing")
    upload_id = (row.get_attribute("id") or "").removeprefix("upload-")
    way = {"upload": upload_id, "stage": "copying", "done": 300, "size": 1000, "fraction": 0.4333}
    page.evaluate("window.tell", way)
    shown = row.locator(".carried")
    expect(shown).to_have_text("being released 43 % (copying)")
    expect(shown).to_have_attribute("title", "300 B of 1000 B")
    page.evaluate("window.tell", {**way, "stage": "verifying", "done": 610, "fraction": 0.87})
    expect(shown).to_have_text("being released 87 % (verifying, by reading back)")
    expect(shown.locator("progress")).to_have_js_property("value", 0.87)
    page.evaluate("window.tell", {"upload": upload_id, "stage": None})
    expect(shown).to_have_count(0)
    (gates / "huge.bin").unlink()
    expect(row).to_have_attribute("data-phase", "released")


def test_a_folder_goes_in_as_it_is(page: Page, tmp_path: Path) -> None:
    (tmp_path / "photos" / "2026").mkdir(parents=True)
    for name in ("a.txt", "2026/b.txt", "2026/c.txt", "2026/d.txt", "2026/e.txt", "2026/f.txt"):
        (tmp_path / "photos" / name).write_text(name)
    page.locator("#pick-folder").set_input_files(str(tmp_path / "photos"))
    for name in ("photos/a.txt", "photos/2026/b.txt", "photos/2026/f.txt"):
        expect(page.locator("tr", has_text=name)).to_have_attribute("data-phase", "released", timeout=15_000)
    expect(page.locator("#notices li")).to_have_count(0)


def test_what_is_dropped_goes_in(page: Page) -> None:
    dropped = page.evaluate_handle("""() => {
        const made = new DataTransfer();
        for (const name of ["dropped-1.txt", "dropped-2.txt"]) made.items.add(new File(["hello"], name));
        return made;
    }""")
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    for name in ("dropped-1.txt", "dropped-2.txt"):
        expect(page.locator("tr", has_text=name)).to_have_attribute("data-phase", "released", timeout=15_000)


def test_who_waits_is_told_what_for(page: Page, tmp_path: Path) -> None:
    """A server that is away when it begins, and one that takes nothing for a while in the middle."""
    file = tmp_path / "patience.txt"
    file.write_text("x")
    page.route("**/uploads/", lambda route: route.abort())
    choose(page, file)
    notice = page.locator("#notices li")
    expect(notice).to_have_text("patience.txt: The server does not answer. Trying again.")

    def full(route: Route) -> None:
        if route.request.method == "PATCH":
            route.fulfill(status=507, body='{"detail": "There is no room."}')
        else:
            route.continue_()

    upload = re.compile("^http://[^/]+/uploads/[0-9a-f]{32}$")
    page.route(upload, full)
    page.unroute("**/uploads/")
    row = page.locator("tr", has_text="patience.txt")
    expect(row.locator(".trouble")).to_have_text("There is no room. Trying again.")
    page.unroute(upload)
    expect(row).to_have_attribute("data-phase", "released", timeout=15_000)
    expect(notice).to_have_count(0)


def test_an_answer_that_breaks_off_loses_no_file(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "broken-answer.txt"
    file.write_text("x")
    page.evaluate("""() => {
        const real = window.fetch;
        const text = () => Promise.reject(new TypeError("network error"));
        const broken = { ok: false, status: 503, headers: new Headers(), text };
        window.fetch = (url, options) => options?.method === "POST" ? Promise.resolve(broken) : real(url, options);
        window.mend = () => { window.fetch = real; };
    }""")
    choose(page, file)
    expect(page.locator("#notices li")).to_have_text("broken-answer.txt: The server answered 503. Trying again.")
    page.evaluate("() => window.mend()")
    expect(page.locator("tr", has_text=file.name)).to_have_attribute("data-phase", "released", timeout=15_000)


def test_nothing_is_stale_after_a_server_was_away(page: Page, server: PenstockServer, gates: Path) -> None:
    """Behind a proxy, which answers in its place: browsers never ask again for a stream that was answered with 502."""
    (gates / "held.txt").touch()
    httpx.put(f"{server.url}/files/held.txt", content=b"x", trust_env=False)
    held = page.locator("tr", has_text="held.txt")
    expect(held).to_have_attribute("data-phase", "processing")
    one = re.compile("/api/v1/uploads/[0-9a-f]{32}$")
    page.route(one, lambda route: route.fulfill(status=502))
    with page.expect_response(one):
        (gates / "held.txt").unlink()
    page.route("**/api/v1/events", lambda route: route.fulfill(status=502))
    expect(held).to_have_attribute("data-phase", "processing")
    page.unroute(one)
    expect(held).to_have_attribute("data-phase", "released")
    page.reload()
    expect(page.locator("#connection")).to_have_text("connection lost, trying again …")
    httpx.put(f"{server.url}/files/meanwhile.txt", content=b"x", trust_env=False)
    page.unroute("**/api/v1/events")
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("tr", has_text="meanwhile.txt")).to_have_attribute("data-phase", "released")


def test_older_ones_are_shown_when_somebody_asks(page: Page, server: PenstockServer) -> None:
    """The page asks for a hundred at a time; here for two."""
    for number in range(4):
        httpx.put(f"{server.url}/files/old-{number}.txt", content=b"x", trust_env=False)
        expect(page.locator("tr", has_text=f"old-{number}.txt")).to_have_attribute("data-phase", "released")
    few = re.compile(r"/api/v1/uploads\?limit=100")
    page.route(few, lambda route: route.continue_(url=route.request.url.replace("limit=100", "limit=2")))
    page.reload()
    rows = page.locator("#uploads tr")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Older ones").click()
    expect(rows).to_have_count(4)
    expect(rows.nth(2)).to_contain_text("old-1.txt")


def test_an_upload_in_processing_can_be_cancelled(page: Page, gates: Path, tmp_path: Path) -> None:
    file = tmp_path / "cancel-me.txt"
    (gates / "cancel-me.txt").touch()
    file.write_text("x")
    choose(page, file)
    row = page.locator("tr", has_text="cancel-me.txt")
    expect(row).to_have_attribute("data-phase", "processing")
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_have_attribute("data-phase", "cancelled")


def test_a_name_is_text_whatever_is_in_it(page: Page, tmp_path: Path) -> None:
    """Nor does anything run that got into the page all the same: its policy is asked, and not only its code."""
    said: list[str] = []

    def hear(dialog: Dialog) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", hear)
    name = "<img src=x onerror=alert(1)>.txt"
    (tmp_path / name).write_text("hello")
    choose(page, tmp_path / name)
    row = page.locator("tr", has_text=name)
    expect(row).to_have_attribute("data-phase", "released")
    assert row.locator("img").count() == 0
    blocked = """() => new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        document.body.insertAdjacentHTML("beforeend", "<img src='/static/icon.svg' onload='alert(2)'>");
    })"""
    assert page.evaluate(blocked) == "script-src-attr"
    assert said == []


def test_a_reload_shows_the_same(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "stays.txt"
    file.write_text("x")
    choose(page, file)
    row = page.locator("tr", has_text="stays.txt")
    expect(row).to_have_attribute("data-phase", "released")
    page.reload()
    expect(row).to_have_attribute("data-phase", "released")


def test_a_narrow_screen_shows_everything_without_scrolling_sideways(page: Page, gates: Path, tmp_path: Path) -> None:
    file = tmp_path / f"{'long-' * 20}name.txt"
    (gates / file.name).touch()
    file.write_text("x")
    page.set_viewport_size({"width": 360, "height": 800})
    choose(page, file)
    row = page.locator("tr", has_text="name.txt")
    expect(row.get_by_role("button", name="Cancel")).to_be_in_viewport(ratio=1)
    width, name_width = page.evaluate(
        "[document.documentElement.scrollWidth, document.querySelector('td.name').offsetWidth]"
    )
    assert width <= 360
    assert name_width > 200


def test_a_scanner_that_is_away_is_seen_until_it_is_back(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as clamd:
        environment = {
            "ANTIVIRUS_SCANNER_TYPE": "clamav",
            "ANTIVIRUS_CLAMAV_SOCKET": clamd.unix_address,
            "PENSTOCK_ANTIVIRUS_SELF_TEST_INTERVAL": "1s",
            "PENSTOCK_ANTIVIRUS_BREAKER_PAUSE": "1s",
        }
        with PenstockServer(tmp_path, **environment) as server:
            page = browser.new_page()
            page.goto(server.url)
            expect(page.locator("#connection")).to_have_text("live")
            expect(page.locator("#troubles")).to_be_hidden()
            clamd.kill()
            expect(page.locator("#troubles li").first).to_contain_text("no connection to clamd")
            clamd.start_again()
            expect(page.locator("#troubles")).to_be_hidden()
            page.close()


FORM = """
<form action="/files/" method="post" enctype="multipart/form-data">
  <input name="space" value="lab"><input name="other" type="file"><input name="files" type="file" multiple>
  <button>Send</button>
</form>
"""


def test_a_form_without_any_script(page: Page, tmp_path: Path) -> None:
    """A browser sends it by itself, and shows the page of what is on its way."""
    names = ("report Ü.txt", 'say "hi".txt')
    for name in names:
        (tmp_path / name).write_text(name * 10_000)
    page.evaluate("form => { document.body.innerHTML = form }", FORM)
    page.locator("[name=files]").set_input_files([str(tmp_path / name) for name in names])
    with page.expect_navigation():
        page.get_by_role("button", name="Send").click()
    expect(page.locator("#connection")).to_have_text("live")
    listed = page.request.get(f"{page.url}api/v1/uploads?space=lab").json()
    assert sorted(upload["filename"] for upload in listed["uploads"]) == sorted(names)
    assert {upload["size"] for upload in listed["uploads"]} == {len(name.encode()) * 10_000 for name in names}


def test_versions_are_listed_read_restored_and_deleted(page: Page, server: PenstockServer, tmp_path: Path) -> None:
    file = tmp_path / "versions.txt"
    newest = page.locator("#uploads tr", has_text="versions.txt").first
    for content in ("first", "second one"):
        file.write_text(content)
        choose(page, file)
        expect(newest.locator(".number").first).to_have_text(f"{len(content)} B")
        expect(newest).to_have_attribute("data-phase", "released")
    newest.get_by_role("button", name="Versions", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("versions.txt")
    rows = dialog.locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("the file")
    with page.expect_download() as download:
        rows.nth(1).get_by_role("link").click()
    assert Path(download.value.path()).read_text() == "first"
    rows.nth(1).get_by_role("button", name="Make current").click()
    expect(rows.first.locator(".number")).to_have_text("5 B")
    assert page.request.get(f"{server.url}/files/versions.txt").text() == "first"
    page.once("dialog", lambda asked: asked.accept())
    rows.nth(1).get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(1)
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#uploads tr", has_text="versions.txt").first).to_have_attribute("data-phase", "cancelled")


def test_every_click_tells_why_nothing_comes_of_it(page: Page, server: PenstockServer) -> None:
    httpx.put(f"{server.url}/files/older.txt", content=b"x", trust_env=False)
    httpx.put(f"{server.url}/files/clicks.txt", content=b"x", trust_env=False)
    row = page.locator("tr", has_text="clicks.txt")
    expect(row).to_have_attribute("data-phase", "released")
    few = re.compile(r"/api/v1/uploads\?limit=100")
    page.route(few, lambda route: route.continue_(url=route.request.url.replace("limit=100", "limit=1")))
    page.reload()
    expect(page.locator("#connection")).to_have_text("live")
    said: list[str] = []

    def hear(dialog: Dialog) -> None:
        if dialog.type == "alert":
            said.append(dialog.message)
        dialog.accept()

    page.on("dialog", hear)
    away = re.compile("/api/v1/(uploads|paths)[/?]")
    page.route(away, lambda route: route.abort())
    versions, delete = (row.get_by_role("button", name=name) for name in ("Versions", "Delete"))
    for button in (versions, delete, page.get_by_role("button", name="Older ones")):
        with page.expect_event("dialog", lambda dialog: dialog.type == "alert"):
            button.click()
    expect(row).to_have_attribute("data-phase", "released")
    page.unroute(away)
    page.route(away, lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    with page.expect_event("dialog", lambda dialog: dialog.type == "alert"):
        delete.click()
    page.unroute(away)
    assert said == [
        "clicks.txt: The server does not answer.",
        "clicks.txt is still there: The server does not answer.",
        "Older ones cannot be shown: The server does not answer.",
        "clicks.txt is still there: The server answered 502.",
    ]
    row.get_by_role("button", name="Versions").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("tbody tr")).to_have_count(1)
    page.route(away, lambda route: route.abort())
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_have_text("The server does not answer.")
    expect(dialog.locator("tbody tr")).to_have_count(1)
    page.unroute(away)
    dialog.get_by_role("button", name="Close").click()


def test_what_a_click_did_is_seen_without_any_event(page: Page, server: PenstockServer) -> None:
    page.add_init_script("""
        const RealSource = window.EventSource;
        window.EventSource = class extends RealSource {
            constructor(...given) { super(...given); window.stream = this; }
        };
    """)
    httpx.put(f"{server.url}/files/unheard.txt", content=b"x", trust_env=False)
    page.reload()
    row = page.locator("tr", has_text="unheard.txt")
    expect(row).to_have_attribute("data-phase", "released")
    page.evaluate("() => window.stream.close()")
    page.once("dialog", lambda asked: asked.accept())
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_attribute("data-phase", "cancelled")


def test_the_keyboard_stays_where_it_was(page: Page, server: PenstockServer, gates: Path, tmp_path: Path) -> None:
    """A row is made anew whenever something happens to its upload."""
    (gates / "typed.txt").touch()
    (tmp_path / "typed.txt").write_text("x")
    choose(page, tmp_path / "typed.txt")
    row = page.locator("tr", has_text="typed.txt")
    expect(row).to_have_attribute("data-phase", "processing")
    row.get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    dismiss = row.get_by_role("button", name="Dismiss typed.txt")
    expect(dismiss).to_be_focused()
    page.keyboard.press("Enter")
    expect(row).to_have_count(0)
    assert page.evaluate("document.activeElement !== document.body")


def test_a_line_that_is_dead_without_a_word_is_given_up(page: Page, tmp_path: Path) -> None:
    (tmp_path / "dead-line.txt").write_text("x")
    page.clock.install()
    page.reload()
    held: list[Route] = []
    upload = re.compile("/uploads/[0-9a-f]{32}$")

    def hold(route: Route) -> None:
        if route.request.method == "PATCH":
            held.append(route)  # and never answered
        else:
            route.continue_()

    page.route(upload, hold)
    with page.expect_request(lambda request: request.method == "PATCH"):
        choose(page, tmp_path / "dead-line.txt")
    row = page.locator("tr", has_text="dead-line.txt")
    expect(row).to_have_attribute("data-phase", "receiving")
    page.route(upload, lambda route: route.abort())
    page.clock.fast_forward("04:00")
    expect(row.locator(".trouble")).to_have_text("The server does not answer. Trying again.")
    page.unroute(upload)
    expect(row).to_have_attribute("data-phase", "released")
    assert held


def test_what_misses_the_box_is_taken_all_the_same(page: Page) -> None:
    dropped = page.evaluate_handle("""() => {
        const made = new DataTransfer();
        made.items.add(new File(["hello"], "missed.txt"));
        return made;
    }""")
    page.dispatch_event("header", "drop", {"dataTransfer": dropped})
    expect(page.locator("tr", has_text="missed.txt")).to_have_attribute("data-phase", "released")
