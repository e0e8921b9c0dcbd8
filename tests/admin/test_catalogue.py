"""Every message of the API is in the catalogue, in both languages."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.error import CannotListenError

from admin.catalogue.changes import CHANGES
from admin.catalogue.request_errors import MUST_BE, REQUEST_ERRORS
from admin.catalogue.server_errors import SERVER_ERRORS
from admin.catalogue.translation import MAX_LENGTH, filled, in_portuguese
from admin.openapi import inputs
from admin.openapi.fields import Shape
from admin.responses import ERRORS, MESSAGES
from audiosocket.provisioning.extension_service import explained
from tests.support.admin_client import AdminClient

ROOT = Path(__file__).resolve().parents[2]
CATALOGUES = (CHANGES, MUST_BE, SERVER_ERRORS, REQUEST_ERRORS)
ALL = {english: there for catalogue in CATALOGUES for english, there in catalogue.items()}
#: What the API answers with; and a method of `TokenAuth` that makes one.
RAISED = {kind.__name__ for kind in ERRORS} | {"HTTPError", "_unauthorized"}
#: Modules that raise them for the command line only.
FOR_PEOPLE_AT_A_TERMINAL = {"audiosocket/show_dialplan.py", "audiosocket/testing/leg_double.py"}
#: Stands for a place in a template, so that it fits where a number or a text does.
VALUE = "§1§"
PLACE = re.compile(r"\{[a-z_]+\}")


def text_of(node: ast.expr) -> str | None:
    """Return a message as written in the code, `VALUE` for each place; None where it comes from elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    return None


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield (node.func.id if isinstance(node.func, ast.Name) else node.func.attr), node


def messages() -> Iterator[tuple[str, str]]:
    """Return each message of an error in the code, and the file that has it."""
    for path in sorted([*ROOT.glob("audiosocket/**/*.py"), *ROOT.glob("admin/**/*.py")]):
        name = path.relative_to(ROOT).as_posix()
        if name in FOR_PEOPLE_AT_A_TERMINAL:
            continue
        for called, node in calls(ast.parse(path.read_text())):
            if called in RAISED and node.args:
                text = text_of(node.args[1 if called == "HTTPError" and len(node.args) > 1 else 0])
                if text is not None:
                    yield text, name


def shapes() -> list[Shape]:
    return [*inputs.BODIES.values(), *inputs.QUERIES.values()]


def test_every_error_in_the_code_has_a_portuguese_text() -> None:
    found = list(messages())
    assert len(found) > 100
    missing = [f"{name}: {text}" for text, name in found if text.strip(VALUE) and in_portuguese(text) is None]
    assert missing == []


def test_every_message_of_a_status_and_of_a_kind_of_error_has_one() -> None:
    assert [text for _, text in ERRORS.values() if in_portuguese(text) is None] == []
    assert in_portuguese(MESSAGES[500]) == "O servidor falhou; o motivo está no log."


def test_every_word_about_the_shape_of_a_body_has_one() -> None:
    hints = {shape.hint for shape in shapes()} - {""}
    words = {field.must_be for shape in shapes() for field in shape.fields.values()}
    assert [text for text in hints | words if in_portuguese(text) is None] == []


def test_every_message_of_a_change_in_the_code_is_in_the_catalogue() -> None:
    said = {
        text_of(node.args[1])
        for path in ROOT.glob("admin/routes/*.py")
        for called, node in calls(ast.parse(path.read_text()))
        if called == "say"
    }
    assert said == set(CHANGES)


def test_no_text_occurs_twice() -> None:
    """Neither in English, over all catalogues, nor as the translation of two texts that say the same."""
    entries = [entry for catalogue in CATALOGUES for entry in catalogue.items()]
    for texts in zip(*entries, strict=True):
        assert [text for text, count in Counter(texts).items() if count > 1] == []


@pytest.mark.parametrize("english", ALL)
def test_both_languages_have_the_same_places(english: str) -> None:
    assert sorted(PLACE.findall(english)) == sorted(PLACE.findall(ALL[english]))
    assert ALL[english]


@pytest.mark.parametrize("english", [*MUST_BE, *SERVER_ERRORS, *REQUEST_ERRORS])
def test_a_message_is_translated_by_its_own_entry(english: str) -> None:
    values = {place[1:-1]: VALUE for place in PLACE.findall(english)}
    assert in_portuguese(filled(english, values)) == filled(ALL[english], values)


@pytest.mark.parametrize(
    ("english", "portuguese"),
    [
        ("porta_ia is '70000', not a TCP port (1 to 65535)", "porta_ia é '70000', não uma porta TCP (1 a 65535)"),
        ("force is 'maybe'; it must be true or false.", "force é 'maybe'; deve ser true ou false."),
        ("state is 'x'; it must be live or ended.", "state é 'x'; deve ser live ou ended."),
        (
            "worker 1 is gone; try again in a moment",
            "worker 1 não existe mais; tente de novo em instantes",
        ),
        (
            "no answer within 5 s; the connection was lost",
            "sem resposta em 5 s; a conexão se perdeu",
        ),
        (
            "the database refuses it: duplicate key value",
            "o banco de dados recusa: duplicate key value",
        ),
        (
            "The body is not valid JSON: the key a occurs twice.",
            "O corpo não é JSON válido: a chave a aparece duas vezes.",
        ),
        ("connection refused", None),
        ("the connection was lost; connection refused", None),
        ("x" * (MAX_LENGTH + 1), None),
    ],
)
def test_what_is_filled_in_stays(english: str, portuguese: str | None) -> None:
    assert in_portuguese(english) == portuguese


def test_an_error_is_portuguese_unless_the_client_prefers_english() -> None:
    web = AdminClient()
    answer = web.request("GET", "/api/nothing", Accept_Language="")
    assert answer.json()["message"] == "Não existe o recurso /api/nothing."
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("pt-BR", "Accept-Language")
    answer = web.request("GET", "/api/nothing", Accept_Language="en-GB, pt;q=0.5")
    assert answer.json()["message"] == "There is no resource /api/nothing."
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("en", "Accept-Language")


@pytest.mark.parametrize(
    ("number", "portuguese"),
    [
        (errno.EADDRINUSE, "visitantes: porta 700 em uso por outro programa"),
        (errno.EACCES, "visitantes: porta 700 exige privilégios: use uma acima de 1023"),
        (errno.EADDRNOTAVAIL, "visitantes: porta 700: [Errno 99] Cannot assign requested address"),
    ],
)
def test_why_a_port_is_not_open_is_said_in_portuguese(number: int, portuguese: str) -> None:
    reason = f"visitor {explained(CannotListenError('', 700, OSError(number, os.strerror(number))))}"
    said = in_portuguese(f"extension 3: {reason}; worker 1 is starting; extension 14: {reason}") or ""
    first, second, third = said.split("; ")
    assert (second, third.partition(": ")[0]) == ("worker 1 está iniciando", "ramal 14")
    assert first.startswith(f"ramal 3: {portuguese}")
    assert first.partition(": ")[2] == third.partition(": ")[2]


def test_the_reasons_of_a_probe_are_portuguese_unless_the_client_prefers_english() -> None:
    web = AdminClient()
    web.control.health = (
        False,
        "extension 1: visitor port 81 is in use, listening on 82 instead; "
        "extension 2: resident port 83 is not open yet; worker 2 is down",
    )
    answer = web.request("GET", "/readyz", Accept_Language="")
    assert answer.json()["message"] == (
        "ramal 1: visitantes: porta 81 em uso, escutando na 82 no lugar dela; "
        "ramal 2: moradores: porta 83 ainda não está aberta; worker 2 não está ativo"
    )
    assert answer.headers["Content-Language"] == "pt-BR"
    answer = web.request("GET", "/readyz", Accept_Language="en")
    assert (answer.json()["message"], answer.headers["Content-Language"]) == (web.control.health[1], "en")


def test_the_text_of_another_program_is_not_called_portuguese() -> None:
    web = AdminClient()
    web.control.health = (False, "connection refused")
    answer = web.request("GET", "/readyz", Accept_Language="")
    assert (answer.json()["message"], answer.headers["Content-Language"]) == ("connection refused", "en")


def test_what_is_rejected_before_its_end_is_answered_in_the_language_of_its_header() -> None:
    for accepted, said in (("en", "The body is larger than"), ("pt", "O corpo tem mais de")):
        wire = AdminClient().connect()
        head = f"POST /api/refresh HTTP/1.1\r\nHost: localhost\r\nAccept-Language: {accepted}\r\n"
        wire.send(f"{head}Content-Length: 70000\r\n\r\n".encode())
        (answer,) = wire.responses()
        assert answer.status == 413
        assert answer.json()["message"].startswith(said)
