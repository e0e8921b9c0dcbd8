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
from audiosocket.dialplan import PLACEHOLDER, STYLES, Style, lines
from audiosocket.errors import InvalidExtension
from audiosocket.extensions import DEFAULT_EXTENSION, Extension

EXAMPLES = Path(__file__).parent.parent / "examples" / "asterisk"
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
def test_says_for_the_examples_row_what_the_shipped_file_says(style: Style, wideband: bool, codec: str) -> None:
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
def test_a_row_without_a_return_extension_says_so(number: str, port: int | None) -> None:
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
        ("0.0.0.0", "", PLACEHOLDER),
        ("::", "", PLACEHOLDER),
        ("", "", PLACEHOLDER),
        ("0.0.0.0", "10.0.0.5", "10.0.0.5"),
    ],
)
def test_the_address_is_the_rows_or_one_to_be_replaced(row: str, given: str, host: str) -> None:
    text = lines(replace(ROW, server_ip=row), style="plain", host=given)
    assert [f",{host}:" in line for line in calls(text)] == [True, True]
    assert ("; REPLACE" in text) == (host == PLACEHOLDER)


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
def test_numbers_as_people_dial_them_are_taken(number: str) -> None:
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
    for row, given_host in ((replace(ROW, server_ip=host), ""), (ROW, host)):
        with pytest.raises(InvalidExtension, match="ip_servidor"):
            lines(row, style="plain", host=given_host)


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50), st.sampled_from(STYLES))
@settings(max_examples=150, deadline=None)
def test_no_row_adds_a_line(number: str, return_number: str, host: str, style: Style) -> None:
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


# --- the command -----------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    other = replace(ROW, id=8, number="3000", return_number="3001", port=9100, return_port=9101)
    document = {"ramais": [ROW.as_json(), other.as_json(), {"id": 9}]}
    (tmp_path / "ramais_config.json").write_text(json.dumps(document))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> tuple[int, str, str]:
    status = show_dialplan.main(["--env-file", "/nonexistent/.env", *arguments], environment)
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_prints_the_same(capsys: pytest.CaptureFixture[str], data: Path) -> None:
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


def test_the_command_finds_the_servers_directory(capsys: pytest.CaptureFixture[str], data: Path) -> None:
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
        (json.dumps({"ramais": [{**ROW.as_json(), "ramal_ia": "1;2"}]}), "7", "ramal_ia is '1;2'"),
    ],
)
def test_the_command_says_what_is_wrong_and_touches_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, wanted: str, words: str
) -> None:
    (tmp_path / "ramais_config.json").write_text(content)
    (tmp_path / ".ramais_config.json.cafe").write_text("the server is saving")
    status, out, err = run(capsys, wanted, "--data-dir", str(tmp_path))
    assert (status, out) == (1, "")
    assert words in err
    assert {path.name for path in tmp_path.iterdir()} == {"ramais_config.json", ".ramais_config.json.cafe"}
    assert (tmp_path / "ramais_config.json").read_text() == content
