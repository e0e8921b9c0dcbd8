"""The routes of calls, with every error they can answer; commands and pages."""

from __future__ import annotations

from uuid import uuid4

from admin.responses import encode
from audiosocket.control_interface import CallSelection
from audiosocket.errors import (
    AudioSocketError,
    CommandRefused,
    InvalidCommand,
    InvalidNumber,
    InvalidReport,
    ReturnTaken,
    ReturnUnavailable,
    UnknownAttempt,
)
from audiosocket.extensions.model import Role
from tests.support.admin_client import CALL, AdminClient, for_each, request_bytes
from tests.support.api_answers import error, success

OTHER_CALL = "11111111-2222-4333-8444-555555555555"


# --- calls ------------------------------------------------------------------------------------------


def test_calls_are_listed(web: AdminClient) -> None:
    said = success(web.request("GET", "/api/calls"))
    assert said == {"total": 1, "calls": [{"call_id": str(CALL), "state": "live"}]}


@for_each(str(CALL), str(CALL).upper(), CALL.hex, f"%7B{CALL}%7D", f"urn:uuid:{CALL}")
def test_a_call_is_found_by_any_form_of_its_uuid(web: AdminClient, spelling: str) -> None:
    said = success(web.request("GET", f"/api/calls/{spelling}"))
    assert said["call"]["call_id"] == str(CALL)
    assert said["call"]["timeline"] == [{"event": "app.note", "what": "{1, 2}"}]  # an app noted a set


@for_each("x", CALL.hex[:-1], CALL.hex[:-2] + "_0", "0x" + CALL.hex[2:], "%C3%BC")
def test_an_invalid_uuid_is_400(web: AdminClient, spelling: str) -> None:
    error(web.request("GET", f"/api/calls/{spelling}"), 400, "UUID")
    error(web.request("POST", f"/api/calls/{spelling}/return"), 400, "UUID")


def test_an_unknown_call_is_404(web: AdminClient) -> None:
    error(web.request("GET", f"/api/calls/{OTHER_CALL}"), 404, OTHER_CALL)
    error(web.request("POST", f"/api/calls/{OTHER_CALL}/return", {"number": "101"}), 404, OTHER_CALL)
    error(web.request("DELETE", f"/api/calls/{OTHER_CALL}/return"), 404, OTHER_CALL)


@for_each(
    ({"number": "101"}, ("101",)),
    ({"number": " 101 "}, ("101",)),
    ({"numbers": ["101", "+5511999"]}, ("101", "+5511999")),
    ({"number": 101}, ("101",)),
    ({"number": 0}, ("0",)),
    ({"numbers": [101, "apto-12"]}, ("101", "apto-12")),
)
def test_a_return_call_is_placed(web: AdminClient, body: object, numbers: tuple[str, ...]) -> None:
    said = success(web.request("POST", f"/api/calls/{CALL}/return", body, Accept_Language=""), 202)
    assert said["message"] == f"Chamada de retorno iniciada para {CALL}"
    assert said["call"]["call_id"] == str(CALL)
    assert web.control.requests == [("return", CALL, *numbers)]


@for_each(
    (b"", 400, "empty"),
    (b"{", 400, "JSON"),
    ({}, 400, "number"),
    ({"number": -101}, 400, "-101"),
    ({"number": 101.5}, 400, "101.5"),
    ({"number": True}, 400, "True"),
    ({"number": None}, 400, "None"),
    ({"number": ["101"]}, 400, "text"),
    ({"numbers": ["101", False]}, 400, "False"),
    (b'{"number": 1' + b"0" * 5000 + b"}", 400, "JSON"),
    ({"number": "101", "numbers": ["102"]}, 400, "Give the number"),
    ({"telefone": "101"}, 422, "telefone"),
)
def test_a_return_call_needs_a_number(web: AdminClient, body: bytes | object, status: int, word: str) -> None:
    error(web.request("POST", f"/api/calls/{CALL}/return", body), status, word)
    assert web.control.requests == []


@for_each(
    (ReturnTaken("under way"), 409), (InvalidNumber("no number"), 422), (ReturnUnavailable("AMI is away"), 503)
)
def test_the_reasons_against_a_return_call(web: AdminClient, refusing: AudioSocketError, status: int) -> None:
    web.control.call_error = refusing
    error(web.request("POST", f"/api/calls/{CALL}/return", {"number": "101"}), status, str(refusing))


def test_a_return_call_is_cancelled(web: AdminClient) -> None:
    said = success(web.request("DELETE", f"/api/calls/{CALL}/return", Accept_Language=""))
    assert said["message"] == f"Chamada de retorno cancelada para {CALL}"
    assert web.control.requests == [("cancel", CALL)]
    web.control.call_error = ReturnTaken("nothing rings")
    error(web.request("DELETE", f"/api/calls/{CALL}/return"), 409, "nothing rings")


@for_each(
    ({"end": "busy"}, ""),
    ({"end": "busy", "reason": "em outra chamada"}, "em outra chamada"),
    ({"end": "busy", "reason": None}, ""),
    ({"end": "busy", "attempt_id": "0b1c-2"}, ""),
)
def test_the_end_of_an_attempt_is_reported(web: AdminClient, body: object, reason: str) -> None:
    success(web.request("POST", "/api/attempts/0b1c-2", body))
    assert web.control.requests == [("report", "0b1c-2", "busy", reason)]


@for_each(
    (b"", 400, "empty"),
    (b"[]", 400, "object"),
    ({}, 400, "end"),
    ({"end": None}, 400, "end"),
    ({"end": ["busy"]}, 400, "end"),
    ({"end": "cancelled"}, 400, "end is cancelled; it must be one of answered, busy, no_answer, refused, failed."),
    ({"end": "busy", "reason": 17}, 400, "17"),
    ({"end": "busy", "attempt_id": "2"}, 422, "attempt_id"),
    ({"end": "busy", "attempt_id": 1}, 400, "attempt_id"),
    ({"end": "busy", "resaon": "x"}, 422, "resaon"),
)
def test_a_report_must_have_an_end(web: AdminClient, body: bytes | object, status: int, word: str) -> None:
    error(web.request("POST", "/api/attempts/1", body), status, word)
    assert web.control.requests == []


@for_each((UnknownAttempt("it has ended"), 404), (InvalidReport("end must be one of"), 400))
def test_the_reasons_against_a_report(web: AdminClient, refusing: AudioSocketError, status: int) -> None:
    web.control.call_error = refusing
    error(web.request("POST", "/api/attempts/1", {"end": "busy"}), status, str(refusing))


@for_each({"call_id": str(CALL)}, {"call_id": CALL.hex, "role": "visitor"})
def test_a_leg_is_hung_up(web: AdminClient, body: object) -> None:
    said = success(web.request("POST", "/api/hangup", body, Accept_Language=""))
    assert said["message"] == f"KIND_HANGUP enviado com sucesso para {CALL} (visitor)"
    assert web.control.requests == [("hang_up", CALL, Role.VISITOR)]


@for_each(
    (b"", "empty"),
    (b"{", "JSON"),
    ({}, "call_id"),
    ({"call_id": ""}, "call_id"),
    ({"call_id": 5}, "call_id"),
    ({"call_id": [str(CALL)]}, "call_id"),
    ({"call_id": str(CALL) + "0"}, "call_id"),
    ({"call_id": str(CALL), "role": "VISITOR"}, "role"),
    ({"call_id": str(CALL), "role": ""}, "role"),
    ({"call_id": str(CALL), "role": {}}, "role"),
    ({"call_id": "no", "role": "visitante"}, "visitante"),
)
def test_a_hangup_without_a_call_is_400(web: AdminClient, body: bytes | object, word: str) -> None:
    error(web.request("POST", "/api/hangup", body), 400, word)
    assert web.control.requests == []


def test_a_hangup_of_an_unknown_leg_is_404(web: AdminClient) -> None:
    error(web.request("POST", "/api/hangup", {"call_id": OTHER_CALL}), 404, OTHER_CALL)
    error(web.request("POST", "/api/hangup", {"call_id": str(CALL), "role": "resident"}), 404, "resident")


# --- what a bot may do with its call ---------------------------------------------------------------


def test_a_command_is_passed_on_with_its_arguments(web: AdminClient) -> None:
    success(web.request("POST", f"/api/calls/{CALL}/transfer", {"extension": "0"}))
    success(web.request("POST", f"/api/calls/{CALL}/hang_up", b""))
    success(web.request("POST", f"/api/calls/{CALL}/digits", {"digits": "1", "role": "resident"}))
    assert web.control.requests == [
        ("command", CALL, Role.VISITOR, "transfer", {"extension": "0"}),
        ("command", CALL, Role.VISITOR, "hang_up", {}),
        ("command", CALL, Role.RESIDENT, "digits", {"digits": "1"}),
    ]


@for_each(
    (InvalidCommand("there is no command 'x'"), 422, "no command"),
    (CommandRefused("a bot may not authorise"), 409, "may not authorise"),
)
def test_a_refused_command_is_told_why(
    web: AdminClient, problem: AudioSocketError, status: int, words: str
) -> None:
    web.control.call_error = problem
    error(web.request("POST", f"/api/calls/{CALL}/outcome", {"outcome": "authorised"}), status, words)


@for_each({"role": "nobody"}, {"role": 1}, b"[]")
def test_a_command_for_no_leg_is_refused(web: AdminClient, body: object) -> None:
    error(web.request("POST", f"/api/calls/{CALL}/note", body), 400)
    assert web.control.requests == []


def test_the_token_of_a_call_admits_to_commands_for_this_call_only() -> None:
    web = AdminClient(token="the API's")
    other = uuid4()
    mine = {"Authorization": f"Bearer token-of-{CALL}"}
    success(web.request("POST", f"/api/calls/{CALL}/note", {"text": "x"}, **mine))
    success(web.request("DELETE", f"/api/calls/{CALL}/return", **mine))
    for method, path in (
        ("POST", f"/api/calls/{other}/note"),
        ("GET", f"/api/calls/{CALL}"),
        ("GET", "/api/calls"),
        ("DELETE", f"/api/calls/{CALL}/media"),
        ("POST", "/api/hangup"),
        ("POST", "/api/refresh"),
        ("POST", f"/api/calls/{CALL}/note/more"),
    ):
        body = {"text": "x"} if method == "POST" else b""
        assert web.request(method, path, body, **mine).status == 403, path


# --- pages of calls


def test_a_query_asks_for_a_page_of_calls(web: AdminClient) -> None:
    cursor = f"ended_2026-11-27T10:00:00.000Z_{CALL}"
    said = success(web.request("GET", f"/api/calls?state=ended&extension=7&limit=5&cursor={cursor}"))
    assert web.control.requests == [("page", CallSelection("ended", 7, 5, cursor))]
    assert list(said) == ["total", "next_cursor", "calls"]
    assert (said["total"], said["next_cursor"], len(said["calls"])) == (7, "live_1_2", 1)
    success(web.request("GET", "/api/calls?state=live"))
    assert web.control.requests[-1] == ("page", CallSelection("live", None, 100, ""))
    success(web.request("GET", "/api/calls"))
    assert len(web.control.requests) == 2


@for_each(
    *(("state=gone", 400), ("limit=0", 400), ("limit=1001", 400), ("limit=-1", 400), ("limit=x", 400)),
    *(("extension=x", 400), ("cursor=x", 400), ("cursor=live_2026_1", 400), ("page=2", 422)),
)
def test_a_wrong_query_for_calls_is_an_error(web: AdminClient, query: str, status: int) -> None:
    error(web.request("GET", f"/api/calls?{query}"), status)
    assert web.control.requests == []


def test_a_long_list_is_encoded_in_pieces_and_the_same(web: AdminClient) -> None:
    calls = [{"call_id": str(number), "text": "é", "what": {1}} for number in range(60)]
    web.control.all = lambda: calls  # type: ignore[method-assign,assignment,return-value]
    wire = web.connect().send(request_bytes("GET", "/api/calls"))
    assert wire.responses() == []
    web.clock.pump([0, 0])
    (answer,) = wire.responses()
    assert answer.body == encode({"status": "success", "total": 60, "calls": calls})
