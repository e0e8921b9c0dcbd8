"""The dialplan printed for an extension: that of ``examples/asterisk``, and nothing a row could smuggle in."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosocket import show_dialplan
from audiosocket.asterisk.dialplan import (
    LOOPBACK,
    STYLES,
    ServerAddress,
    Style,
    lines,
    named,
    place,
    select_printable,
)
from audiosocket.errors import InvalidExtension
from audiosocket.extensions.model import DEFAULT_EXTENSION, Extension

EXAMPLES = Path(__file__).parents[2] / "examples" / "asterisk"
SHIPPED: dict[Style, str] = {"plain": "extensions.conf", "freepbx": "extensions_custom.conf"}
#: Those the shipped files are written for.
EXAMPLE = replace(DEFAULT_EXTENSION, server_ip="127.0.0.1")
ROW = Extension(7, "2000", "2001", "192.0.2.9", 9000, 9001, 42)
#: Settings of the shipped file that the generated lines have in place.
INLINE = ("AUDIOSOCKET_HOST", "AUDIOSOCKET_PORT", "AUDIOSOCKET_RETURN_PORT", "AUDIOSOCKET_CODEC")


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each context as Asterisk reads them, without comments; a context twice is an error."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            assert name not in found
            found[name] = []
        elif line and not line.startswith(";"):
            found[name].append(line.strip())
    return found


def shipped(style: Style, codec: str = "") -> dict[str, list[str]]:
    """The shipped file with its settings put where they are used."""
    text = (EXAMPLES / SHIPPED[style]).read_text()
    values = {}
    for name in INLINE:
        pattern = rf"(?m)^(?:{name}=(.*)|(exten => s,1|[ ]same => n),Set\({name}=(.*)\))\n"
        (match,) = re.finditer(pattern, text)
        values[name] = match[1] or match[3] or ""
        text = text.replace(match[0], "")
    values["AUDIOSOCKET_CODEC"] = codec
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    found = sections(text)
    for own in found.get("audiosocket-settings", [])[:1]:
        found["audiosocket-settings"][0] = own.replace("same => n,", "exten => s,1,")
    return found


def calls(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if "Gosub(audiosocket-call" in line]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("wideband", "codec"), [(False, ""), (True, "slin16")])
def test_the_examples_row_has_the_lines_of_the_shipped_file(style: Style, wideband: bool, codec: str) -> None:
    assert sections(lines(EXAMPLE, style=style, wideband=wideband)) == shipped(style, codec)


def test_has_the_rows_own_numbers_ports_and_address() -> None:
    found = sections(lines(ROW, style="plain"))
    assert found["audiosocket-visitor"] == [
        "exten => 2000,1,NoOp(visitor at AI extension ${EXTEN})",
        "same => n,Gosub(audiosocket-call,s,1(${UUID()},192.0.2.9:9000,))",
        "same => n,Hangup()",
    ]
    assert found["audiosocket-return"][0] == (
        "exten => 2001,1,NoOp(resident of call ${AUDIOSOCKET_CALL_ID} at ${EXTEN})"
    )
    assert (
        "same => n,Gosub(audiosocket-call,s,1(${AUDIOSOCKET_CALL_ID},192.0.2.9:9001,))"
        in (found["audiosocket-return"])
    )


@pytest.mark.parametrize("style", STYLES)
def test_many_rows_share_one_subroutine_and_each_keeps_its_ports(style: Style) -> None:
    other = replace(ROW, id=8, number="3000", return_number="3001", port=9100, return_port=9101)
    text = lines(ROW, other, style=style)
    found = sections(text)
    assert [re.findall(r":(\d+),", line)[0] for line in calls(text)] == ["9000", "9100", "9001", "9101"]
    assert found["audiosocket-call"] == sections(lines(ROW, style=style))["audiosocket-call"]
    # what Asterisk makes of the lines of both, one after the other, is the same
    assert found["audiosocket-visitor"] == [
        line for row in (ROW, other) for line in sections(lines(row, style=style))["audiosocket-visitor"]
    ]


@pytest.mark.parametrize(("number", "port"), [("", 9001), ("2001", None), ("", None)])
def test_a_row_without_a_return_extension_has_a_comment(number: str, port: int | None) -> None:
    text = lines(replace(ROW, return_number=number, return_port=port), style="plain")
    assert sections(text)["audiosocket-return"] == []
    assert "; Extension 7 has no return number or no return port" in text


@pytest.mark.parametrize(
    ("row", "given", "host"),
    [
        ("192.0.2.9", "", "192.0.2.9"),
        ("192.0.2.9", "voices.example", "voices.example"),
        ("2001:DB8::7", "", "[2001:db8::7]"),
        ("[2001:db8::7]", "", "[2001:db8::7]"),
        ("0.0.0.0", "", "198.51.100.1"),
        ("::", "", "198.51.100.1"),
        ("", "", "198.51.100.1"),
        ("0.0.0.0", "10.0.0.5", "10.0.0.5"),
        ("0.0.0.0", "2001:DB8::7", "[2001:db8::7]"),
    ],
)
def test_an_address_that_is_not_the_rows_has_a_comment(row: str, given: str, host: str) -> None:
    otherwise = ServerAddress("198.51.100.1", "what the test knows")
    text = lines(replace(ROW, server_ip=row), style="plain", host=given, otherwise=otherwise)
    assert [f",{host}:" in line for line in calls(text)] == [True, True]
    comments = [line for line in text.splitlines() if line.startswith(";")]
    assert (f"; {host} below was asked for, in place of the extensions' own addresses." in comments) == bool(given)
    known = f"; {host} below is what the test knows; no address (ip_servidor) is in the row of: 7."
    assert (known in comments) == (host == "198.51.100.1")


@pytest.mark.parametrize(
    ("bind", "asked_at", "host", "source"),
    [
        ("192.0.2.9", "gate.example", "192.0.2.9", "BIND_ADDRESS"),
        ("127.0.0.1", "192.0.2.1", "127.0.0.1", "BIND_ADDRESS"),
        ("0.0.0.0", "gate.example", "gate.example", "HTTP API"),
        ("::", "2001:db8::7", "[2001:db8::7]", "HTTP API"),
        ("fe80::1%eth0", "10.0.0.5", "10.0.0.5", "HTTP API"),
        ("", "localhost", "127.0.0.1", "HTTP API"),
        ("", "::1", "127.0.0.1", "HTTP API"),
        ("", "a b", "127.0.0.1", "own machine"),
        ("", "", "127.0.0.1", "own machine"),
    ],
)
def test_a_row_without_an_address_gets_a_known_one(bind: str, asked_at: str, host: str, source: str) -> None:
    found = place(bind, asked_at)
    assert found.host == host
    assert source in found.source


def test_of_many_rows_without_an_address_ten_are_named() -> None:
    rows = [
        replace(ROW, id=n, number=str(n), return_number=f"1{n}", port=n + 100, return_port=None, server_ip="")
        for n in range(30)
    ]
    (comment,) = (line for line in lines(*rows, style="plain").splitlines() if "below is" in line)
    assert comment.endswith("in the row of: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more.")
    assert LOOPBACK.host in comment


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("wideband", "leg"),
    [
        (False, "same => n,AudioSocket(${UUID()},192.0.2.9:9000)"),
        (True, "same => n,Dial(AudioSocket/192.0.2.9:9000/${UUID()}/c(slin16),,g)"),
    ],
)
def test_without_survival_needs_no_subroutine(style: Style, wideband: bool, leg: str) -> None:
    text = lines(ROW, style=style, wideband=wideband, survive=False)
    assert "Gosub" not in text
    assert sections(text)["audiosocket-visitor"][1:] == ["same => n,Answer()", leg, "same => n,Hangup()"]
    assert "audiosocket-call" not in sections(text)


@pytest.mark.parametrize("number", ["1000", "*72", "#9", "+5511987654321", "porter", "a.b-c_d", "1e"])
def test_numbers_as_they_are_dialled_are_accepted(number: str) -> None:
    assert f"exten => {number},1,NoOp(" in lines(replace(ROW, number=number), style="plain")


BAD = [
    "",
    " ",
    "10 00",
    "1000,1,System(x)",
    "1\n2",
    "1;2",
    "${X}",
    "$[1]",
    "1/2",
    "a)",
    "[x]",
    "_X.",
    "_",
    "1&2",
    "٣",
    "é",
]


@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize("key", ["ramal_ia", "ramal_retorno"])
def test_a_number_that_is_more_than_a_number_is_refused(number: str, key: str) -> None:
    if key == "ramal_retorno" and not number:
        return  # no return extension, which is fine
    row = replace(ROW, number=number) if key == "ramal_ia" else replace(ROW, return_number=number)
    with pytest.raises(InvalidExtension, match=key) as caught:
        lines(row, style="plain")
    assert caught.value.field == key


@pytest.mark.parametrize("number", list("aehiostT"))
def test_a_number_that_asterisk_would_dial_by_itself_is_refused(number: str) -> None:
    with pytest.raises(InvalidExtension, match="for its own purposes"):
        lines(replace(ROW, number=number), style="plain")


@pytest.mark.parametrize(
    "host", ["a b", "a,b", "a/b", "a:1", "fe80::1%eth0", "a;b", "${X}", "a)", "-a", "a\n", "[::1", "[10.0.0.1]"]
)
def test_an_address_that_is_more_than_an_address_is_refused(host: str) -> None:
    for row, given_host, key in ((replace(ROW, server_ip=host), "", "ip_servidor"), (ROW, host, "host")):
        with pytest.raises(InvalidExtension, match=f"^{key} is ") as caught:
            lines(row, style="plain", host=given_host)
        assert caught.value.field == key


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50), st.sampled_from(STYLES))
@settings(max_examples=150, deadline=None)
def test_no_value_of_a_row_adds_a_line(number: str, return_number: str, host: str, style: Style) -> None:
    row = replace(ROW, number=number, return_number=return_number, server_ip=host)
    try:
        text = lines(row, style=style)
    except InvalidExtension:
        return
    usual = lines(ROW if return_number else replace(ROW, return_number=""), style=style)
    rewritten = text.replace(f"exten => {number},1,NoOp(v", "exten => 2000,1,NoOp(v")
    rewritten = rewritten.replace(f"exten => {return_number},1,NoOp(r", "exten => 2001,1,NoOp(r")
    rewritten = re.sub(r",[^,]*:(900[01]),", r",192.0.2.9:\1,", rewritten)
    assert sections(rewritten) == sections(usual)


@pytest.mark.parametrize(("field", "key"), [("number", "ramal_ia"), ("return_number", "ramal_retorno")])
def test_a_number_of_two_rows_is_refused(field: str, key: str) -> None:
    other = replace(Extension(8, "3000", "3001", "", 9100, 9101, 43), **{field: getattr(ROW, field)})
    with pytest.raises(InvalidExtension, match=f"{key} .* extension 7 and to extension 8"):
        lines(ROW, other, style="plain")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_an_address_that_names_no_machine_is_refused(host: str) -> None:
    with pytest.raises(InvalidExtension, match="names no machine"):
        named(host)


def test_a_row_without_a_return_port_claims_no_return_number() -> None:
    only_visitors = replace(ROW, id=8, number="2002", return_port=None)
    assert select_printable([only_visitors, ROW]) == ([only_visitors, ROW], [])


def test_rows_that_cannot_be_written_are_left_out_with_the_reason() -> None:
    """A bad row hides no good one; the first that has a number keeps it."""
    good = replace(ROW, id=1, number="1000", return_number="1001")
    again = replace(ROW, id=2, number="1000", return_number="1002")
    odd = replace(ROW, id=3, number="1\n2")
    nowhere = replace(ROW, id=4, number="1004", return_number="1005", server_ip="a b")
    same = replace(ROW, id=5, number="1006", return_number="1001", port=9100, return_port=9101)
    rows, wrong = select_printable([good, again, odd, nowhere, same])
    assert rows == [good, replace(same, return_port=None)]
    assert [sentence.partition(":")[0] for sentence in wrong] == [
        "extension 2 is left out", "extension 3 is left out", "extension 4 is left out",
        "residents of extension 5 are left out",
    ]  # fmt: skip
    text = lines(*rows, style="plain", wrong=wrong)
    assert text.count("\n; ATTENTION: ") == 4
    assert sections(text) == sections(lines(*rows, style="plain"))
    rows, wrong = select_printable([nowhere], "192.0.2.1")
    assert (rows, wrong) == ([nowhere], []), "another address is asked for"


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    other = replace(ROW, id=8, number="3000", return_number="3001", port=9100, return_port=9101)
    document = {"ramais": [ROW.to_json(), other.to_json(), {"id": 9}]}
    (tmp_path / "ramais_config.json").write_text(json.dumps(document))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> tuple[int, str, str]:
    status = show_dialplan.main(["--env-file", "/nonexistent/.env", *arguments], environment)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_prints_what_the_api_answers(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    where = ("--data-dir", str(data))
    assert run(capsys, "7", *where) == (0, lines(ROW, style="plain"), "")
    assert run(capsys, "7", "--style", "freepbx", "--wideband", *where) == (
        0,
        lines(ROW, style="freepbx", wideband=True),
        "",
    )
    assert run(capsys, "7", "--no-survival", "--host", "h.example", *where) == (
        0,
        lines(ROW, style="plain", host="h.example", survive=False),
        "",
    )


def test_the_command_prints_some_or_all(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    where = ("--data-dir", str(data))
    status, out, _ = run(capsys, *where)
    assert (status, [line.count("9000") + line.count("9100") for line in calls(out)]) == (0, [1, 1, 0, 0])
    assert run(capsys, "7", "8", "7", *where)[1] == out


def test_the_command_leaves_out_rows_that_cannot_be_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = replace(ROW, id=8, number="1;2", port=9100, return_port=9101)
    (tmp_path / "ramais_config.json").write_text(json.dumps({"ramais": [bad.to_json(), ROW.to_json()]}))
    status, out, err = run(capsys, "--data-dir", str(tmp_path))
    assert (status, sections(out)) == (0, sections(lines(ROW, style="plain")))
    assert err.startswith("extension 8 is left out: ramal_ia is '1;2'")


def test_the_command_uses_bind_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path))
    bound = lines(DEFAULT_EXTENSION, style="plain", otherwise=ServerAddress("192.0.2.9", "BIND_ADDRESS"))
    assert run(capsys, *where, BIND_ADDRESS="192.0.2.9") == (0, bound, "")
    env_file = tmp_path / "some.env"
    env_file.write_text("BIND_ADDRESS=192.0.2.9\n")
    assert run(capsys, *where, "--env-file", str(env_file)) == (0, bound, "")
    assert run(capsys, *where, "--env-file", str(env_file), BIND_ADDRESS="") == (0, bound, ""), "blank is not set"
    named = lines(DEFAULT_EXTENSION, style="plain", host="h.example")
    assert run(capsys, *where, "--host", "h.example", BIND_ADDRESS="192.0.2.9") == (0, named, "")


def test_the_command_uses_the_data_directory_of_the_server(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert run(capsys, "7", DATA_DIR=str(data))[0] == 0
    env_file = data / "some.env"
    env_file.write_text(f"DATA_DIR={data}\n")
    assert run(capsys, "7", "--env-file", str(env_file))[0] == 0


def test_the_command_without_a_file_shows_the_default(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "0", "--data-dir", str(tmp_path)) == (0, lines(DEFAULT_EXTENSION, style="plain"), "")


@pytest.mark.parametrize(
    ("content", "wanted", "words"),
    [
        ('{"ramais": []}', "7", "no extension has the id 7"),
        ("{", "7", "is damaged"),
        ("[]", "7", "no list"),
        (json.dumps({"ramais": [{**ROW.to_json(), "ramal_ia": "1;2"}]}), "7", "ramal_ia is '1;2'"),
    ],
)
def test_the_command_reports_an_error_and_changes_no_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, wanted: str, words: str
) -> None:
    (tmp_path / "ramais_config.json").write_text(content)
    (tmp_path / ".ramais_config.json.cafe").write_text("the server is saving")
    status, out, err = run(capsys, wanted, "--data-dir", str(tmp_path))
    assert (status, out) == (1, "")
    assert words in err
    assert {path.name for path in tmp_path.iterdir()} == {"ramais_config.json", ".ramais_config.json.cafe"}
    assert (tmp_path / "ramais_config.json").read_text() == content
