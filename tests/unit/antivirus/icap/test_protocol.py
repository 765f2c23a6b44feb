from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.antivirus.base import ScannerProtocolError, ScannerUnavailable, Verdict
from penstock.antivirus.icap.address import Address, parse_address
from penstock.antivirus.icap.answers import Answer, AnswerReader, ChunkReader
from penstock.antivirus.icap.judgement import judge
from penstock.antivirus.icap.profiles import PROFILES, Means, profile_of
from penstock.antivirus.icap.protocol import LAST_CHUNK, Method, chunk, options_of, scan_request
from penstock.errors import ConfigurationError

HTTP = b"HTTP/1.0 403 VirusFound\r\nContent-Type: text/html\r\n\r\n"
ANSWERS = (
    b'ICAP/1.0 204 Unmodified\r\nISTag: "a"\r\n\r\n',
    b"ICAP/1.0 200 OK\r\nX-Violations-Found: 1\r\n\t-\r\n\tEicar\r\n\t0\r\n\t0\r\n"
    b"Encapsulated: res-hdr=0, res-body=%d\r\n\r\n" % len(HTTP) + HTTP,
    b"ICAP/1.0 500 Server error\r\n\r\n",
    b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=20\r\n\r\nPOST / HTTP/1.1\r\n\r\n...",
)

NOTHING = {"", "-", "0", "no", "none", "clean", "false", "no threats", "no threat", "no virus", "ok"}


def read(data: bytes) -> Answer | None:
    return AnswerReader().feed(data)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    yield from (data[begin:end] for begin, end in itertools.pairwise(edges))


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 10_000), max_size=8), st.binary(max_size=30))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(answer: bytes, places: list[int], more: bytes) -> None:
    whole = AnswerReader()
    expected = whole.feed(answer + more)
    reader = AnswerReader()
    got: Answer | None = None
    rest = b""
    for piece in cut(answer + more, places):
        if got is None:
            got = reader.feed(piece)
        else:
            rest += piece
    assert expected is not None
    assert got == expected
    assert reader.rest + rest == whole.rest


@given(
    st.binary(max_size=300) | st.sampled_from(ANSWERS).flatmap(lambda a: st.integers(0, len(a)).map(lambda n: a[:n]))
)
def test_whatever_comes_is_an_answer_or_an_error_or_not_all(data: bytes) -> None:
    try:
        answer = read(data)
        if answer is not None:
            options_of(answer)
    except ScannerProtocolError:
        return  # nothing else is raised


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(ANSWERS)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
    return bytes(data)


@given(mangled(), st.sampled_from(Method), st.booleans(), st.booleans(), st.sampled_from([None, True, False]))
def test_only_a_204_after_everything_is_clean(
    data: bytes, method: Method, all_sent: bool, could_say_204: bool, sent_back: bool | None
) -> None:
    try:
        answer = read(data)
        if answer is None:
            return
        finding = judge(
            answer,
            method,
            PROFILES["any"],
            all_sent=all_sent,
            could_say_204=could_say_204,
            sent_back=sent_back,
        )
    except (ScannerProtocolError, ScannerUnavailable):
        return
    if finding.verdict is Verdict.CLEAN:
        assert all_sent
        assert data.startswith((b"ICAP/1.0 204", b"ICAP/1.1 204")) or answer.icap.status == 204 or sent_back
        assert answer.icap.status == 204 or not could_say_204


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.lists(st.integers(0, 10_000), max_size=8))
def test_a_body_is_the_same_in_whatever_pieces_it_comes(chunks: list[bytes], places: list[int]) -> None:
    body = b"".join(map(chunk, chunks)) + LAST_CHUNK
    reader = ChunkReader()
    assert b"".join(b"".join(reader.feed(piece)) for piece in cut(body, places)) == b"".join(chunks)
    assert reader.ended


@given(st.binary(max_size=100))
def test_whatever_comes_is_a_body_or_an_error_or_not_all(data: bytes) -> None:
    reader = ChunkReader()
    try:
        reader.feed(data)
    except ScannerProtocolError:
        assert not reader.ended


@pytest.mark.parametrize(
    "data",
    [
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=5, res-body=10\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-body=0, res-hdr=10\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=999999\r\n\r\n",
        b"ICAP/1.0 200 OK\r\nEncapsulated: whatever\r\n\r\n",
        b"ICAP/1.0 2000 OK\r\n\r\n",
        b"HTTP/1.0 204 OK\r\n\r\n",
        b"204 OK",
        b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body=4\r\n\r\nabcd",
    ],
)
def test_what_cannot_be_is_an_error(data: bytes) -> None:
    with pytest.raises(ScannerProtocolError):
        read(data)


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("size_bytes", [0, 5])
def test_the_offsets_of_a_request_are_those_of_its_parts(method: Method, size_bytes: int) -> None:
    request = scan_request(Address("h", 1, "s"), method, size_bytes, None)
    head, _, http = request.partition(b"\r\n\r\n")
    body = int(head.rpartition(b"=")[2])
    assert len(http) == body
    assert http.endswith(b"\r\n\r\n")
    assert (b"null-body" in head) is (size_bytes == 0)


@pytest.mark.parametrize(
    ("fields", "verdict", "signature"),
    [
        ("X-Infection-Found: Type=0; Resolution=2; Threat=Win.Test; v2;", Verdict.INFECTED, "Win.Test; v2"),
        ("X-Infection-Found: Type=2; Resolution=2; Threat=Encrypted;", Verdict.UNSCANNABLE, "Encrypted"),
        ("X-Infection-Found: something", Verdict.INFECTED, "something"),
        ("X-Virus-ID: EICAR Test String", Verdict.INFECTED, "EICAR Test String"),
        ("X-Virus-ID: Encrypted Archive", Verdict.UNSCANNABLE, "Encrypted Archive"),
        (
            "X-Virus-ID: Heuristics.Limits.Exceeded.MaxFileSize",
            Verdict.TOO_LARGE,
            "Heuristics.Limits.Exceeded.MaxFileSize",
        ),
        ("X-Virus-ID: none", Verdict.CLEAN, ""),
        ("X-Virus-Name: EICAR", Verdict.INFECTED, "EICAR"),
        ('X-FSecure-Infection-Name: "Malware.A"', Verdict.INFECTED, "Malware.A"),
        ("X-FSecure-Scan-Result: infected", Verdict.INFECTED, "an unnamed threat"),
        ("X-FSecure-Scan-Result: clean", Verdict.CLEAN, ""),
        ("X-FSecure-Scan-Result: suspected", Verdict.INFECTED, "an unnamed threat"),
        ("X-FSecure-Scan-Result: not_scanned", Verdict.UNSCANNABLE, "not_scanned"),
        (
            "X-Infection-Found: Type=1; Resolution=0; Threat=Encrypted Archive;",
            Verdict.UNSCANNABLE,
            "Encrypted Archive",
        ),
        ("X-Infection-Found: Type=2; Resolution=2; Threat=;", Verdict.UNSCANNABLE, "container"),
        ("X-Blocked: Virus found during virus scan", Verdict.INFECTED, "Virus found during virus scan"),
        ("X-Virus-ID: no threats\r\nX-Response-Info: passed", Verdict.CLEAN, ""),
        ("X-Virus-ID: no threats\r\nX-Response-Info: blocked", Verdict.INFECTED, "an unnamed threat"),
        (
            "X-Response-Info: Blocked\r\nX-Blocked-Reason: Encrypted Archive",
            Verdict.UNSCANNABLE,
            "Encrypted Archive",
        ),
        ("X-Violations-Found: 1\r\n\tfile\r\n\tEicar\r\n\t0\r\n\t0", Verdict.INFECTED, "Eicar"),
        ("X-Violations-Found: 0", Verdict.CLEAN, ""),
        ("X-Response-Info: Blocked\r\nX-Response-Desc: Infected", Verdict.INFECTED, "Infected"),
        ("X-Response-Info: Allowed", Verdict.CLEAN, ""),
        ("X-Own: Bad.Thing", Verdict.CLEAN, ""),
    ],
)
def test_what_products_say(fields: str, verdict: Verdict, signature: str) -> None:
    answer = read(f"ICAP/1.0 204 x\r\n{fields}\r\n\r\n".encode())
    assert answer is not None
    found = judge(answer, Method.REQMOD, PROFILES["any"], all_sent=True, could_say_204=True)
    assert (found.verdict, found.signature) == (verdict, signature)


PAGE = "HTTP/1.1 403 Forbidden"


@pytest.mark.parametrize(
    ("profile", "fields", "http", "verdict", "signature"),
    [
        ("c-icap", "X-Infection-Found: Type=0; Resolution=2; Threat=Eicar;", PAGE, Verdict.INFECTED, "Eicar"),
        ("eset", "X-Virus-ID: Trojaner\r\nX-Response-Info: Blocked", PAGE, Verdict.INFECTED, "Trojaner"),
        ("f-secure", "X-FSecure-Scan-Result: infected", PAGE, Verdict.INFECTED, "an unnamed threat"),
        ("fortinet", "Server: FortiSandbox", PAGE, Verdict.INFECTED, "403 Forbidden"),
        ("kaspersky", "X-Virus-ID: EICAR-Test-File", PAGE, Verdict.INFECTED, "EICAR-Test-File"),
        ("mcafee", "X-Block-Result: 80\r\nX-Block-Reason: Malware found", PAGE, Verdict.INFECTED, "Malware found"),
        (
            "metadefender",
            "X-Response-Info: Blocked\r\nX-Blocked-Reason: Infected\r\nX-Virus-ID: EICAR Test String",
            PAGE,
            Verdict.INFECTED,
            "EICAR Test String",
        ),
        (
            "sophos",
            "Server: SAVDI",
            f"{PAGE}\r\nX-Blocked: Virus found during virus scan\r\nX-Blocked-By: Sophos Anti-Virus",
            Verdict.INFECTED,
            "Virus found during virus scan",
        ),
        (
            "symantec",
            "X-Infection-Found: Type=2; Resolution=2; Threat=Container size violation;",
            PAGE,
            Verdict.UNSCANNABLE,
            "Container size violation",
        ),
        (
            "trend-micro",
            "X-Virus-ID: TSPY_ONLINEG.MCS\r\nX-Response-Desc: FILE: Detected by ATSE",
            PAGE,
            Verdict.INFECTED,
            "TSPY_ONLINEG.MCS",
        ),
        (
            "any",
            "Server: C-ICAP",
            "HTTP/1.0 307 Temporary Redirect\r\nX-Virus-ID: {HEX}EICAR.TEST.3.UNOFFICIAL",
            Verdict.INFECTED,
            "{HEX}EICAR.TEST.3.UNOFFICIAL",
        ),
    ],
)
def test_each_product_is_understood_by_its_own_profile(
    profile: str, fields: str, http: str, verdict: Verdict, signature: str
) -> None:
    http += "\r\n\r\n"
    icap = f"ICAP/1.0 200 OK\r\n{fields}\r\nEncapsulated: res-hdr=0, null-body={len(http)}\r\n\r\n"
    answer = read(f"{icap}{http}".encode())
    assert answer is not None
    found = judge(answer, Method.REQMOD, PROFILES[profile], all_sent=True, could_say_204=True)
    assert (found.verdict, found.signature) == (verdict, signature)


@given(
    st.sampled_from(sorted(PROFILES)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(PROFILES[name].fields))
    ),
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Z"]), max_size=40),
)
def test_whatever_a_field_says_that_is_not_a_word_for_nothing_is_not_clean(
    told: tuple[str, tuple[str, Means]], value: str
) -> None:
    profile, (field, means) = told
    answer = read(f"ICAP/1.0 204 x\r\n{field}: {value}\r\n\r\n".encode())
    assert answer is not None
    found = judge(answer, Method.REQMOD, PROFILES[profile], all_sent=True, could_say_204=True)
    if found.verdict is Verdict.CLEAN:
        assert means is Means.ACTION or value.strip().lower() in NOTHING


def test_a_field_of_ones_own_counts_first() -> None:
    answer = read(b"ICAP/1.0 204 x\r\nX-Own: Bad.Thing\r\nX-Virus-ID: Other\r\n\r\n")
    assert answer is not None
    found = judge(answer, Method.REQMOD, profile_of("eset", "x-own"), all_sent=True, could_say_204=True)
    assert (found.verdict, found.signature) == (Verdict.INFECTED, "Bad.Thing")


@pytest.mark.parametrize(
    ("status", "verdict"), [("403 VirusFound", Verdict.INFECTED), ("307 Elsewhere", Verdict.UNSCANNABLE)]
)
@pytest.mark.parametrize("method", Method)
def test_what_is_put_in_the_place_of_the_file_is_a_verdict(status: str, verdict: Verdict, method: Method) -> None:
    http = f"HTTP/1.1 {status}\r\n\r\n"
    answer = read(f"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, null-body={len(http)}\r\n\r\n{http}".encode())
    assert answer is not None
    found = judge(answer, method, PROFILES["any"], all_sent=True, could_say_204=True)
    assert found.verdict is verdict
    assert status in (found.signature or found.detail)


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        ("Malware found", Verdict.INFECTED),
        ("Worm.Terror", Verdict.INFECTED),
        ("Virus found: Win32.Nested.A", Verdict.INFECTED),
        ("File size over the maximum", Verdict.UNSCANNABLE),
        ("Nested too deeply", Verdict.UNSCANNABLE),
        ("Archive not supported", Verdict.UNSCANNABLE),
        ("Media Type (Block List)", Verdict.UNSCANNABLE),
        ("Scan failed", Verdict.UNSCANNABLE),
    ],
)
@pytest.mark.parametrize("in_http", [False, True])
def test_a_page_instead_of_the_file_may_come_for_a_reason(reason: str, verdict: Verdict, *, in_http: bool) -> None:
    field = f"X-Block-Reason: {reason}\r\n"
    http = f"HTTP/1.0 403 Forbidden\r\n{field if in_http else ''}\r\n"
    icap = f"ICAP/1.0 200 OK\r\n{'' if in_http else field}Encapsulated: res-hdr=0, null-body={len(http)}\r\n\r\n"
    answer = read(f"{icap}{http}".encode())
    assert answer is not None
    found = judge(answer, Method.REQMOD, PROFILES["any"], all_sent=True, could_say_204=True)
    assert (found.verdict, found.signature) == (verdict, reason)


@pytest.mark.parametrize(
    ("url", "service", "address"),
    [
        ("icap://127.0.0.1:1344", "avscan", Address("127.0.0.1", 1344, "avscan")),
        ("icap://host", "/a/b", Address("host", 1344, "a/b")),
        ("icaps://[::1]/own", "avscan", Address("::1", 11344, "own", tls=True)),
    ],
)
def test_addresses(url: str, service: str, address: Address) -> None:
    assert parse_address(url, service) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "url", ["", "host:1344", "http://host", "icap://", "icap://h:x", "icap://h/a b", "icap://h/?x"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigurationError, match="icap://"):
        parse_address(url, "avscan")
