"""Which backend the settings make, what of them is refused, and what the API shows of it."""

from __future__ import annotations

from uuid import UUID

import pytest

from audiosocket.errors import InvalidReport, InvalidSetting, UnknownAttempt
from audiosocket.outbound.webhook_signature import signature
from audiosocket.returncalls.backends.ami import AMIOriginator
from audiosocket.returncalls.backends.ari import ARIOriginator
from audiosocket.returncalls.backends.browser import BrowserOriginator
from audiosocket.returncalls.backends.selection import ReturnBackend, check
from audiosocket.returncalls.backends.webhook import WebhookOriginator
from audiosocket.returncalls.originator import NOT_CONFIGURED, AttemptEnd, AttemptResult, ReturnRequest
from audiosocket.settings import Settings
from tests.support.ports import free_ports
from tests.support.reactor import reactor

CALL = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
AMI = {"AMI_HOST": "127.0.0.1", "AMI_USER": "gate", "AMI_SECRET": "placeholder"}
ARI = {"ARI_URL": "http://127.0.0.1:8088", "ARI_USER": "gate", "ARI_PASSWORD": "placeholder"}
WEBHOOK = {"WEBHOOK_URL": "http://127.0.0.1:1/ring", "WEBHOOK_SECRET": "placeholder"}
DOWN = {"state": "down", "reason": "not started"}


def backend(**values: str) -> ReturnBackend:
    return ReturnBackend(Settings.parse(values), reactor, lambda: 1_000.0)


def test_nothing_is_configured() -> None:
    made = backend()
    assert (made.originator, made.channels) == (None, None)
    assert made.to_json() == {"kind": "none", "state": "off", "reason": NOT_CONFIGURED}
    made.arrived(CALL)


def test_the_backend_of_the_settings() -> None:
    assert isinstance(backend(**AMI).originator, AMIOriginator)
    assert isinstance(backend(**ARI).originator, ARIOriginator)
    assert isinstance(backend(**WEBHOOK).originator, WebhookOriginator)
    assert backend(**AMI).to_json() == {"kind": "ami", **DOWN}
    for kind, state in (("ari", "connecting"), ("webhook", "connecting")):
        made = backend(**AMI, **ARI, **WEBHOOK, RETURN_BACKEND=kind)
        assert made.channels is not None, "AMI identifies callers whatever places the calls"
        shown = made.to_json()
        assert (shown["kind"], shown["state"], shown["ami"]) == (kind, state, DOWN)
    browser = backend(**WEBHOOK, RETURN_BACKEND="browser")
    assert isinstance(browser.originator, BrowserOriginator)
    assert browser.to_json() == {"kind": "browser", "state": "up", "reason": ""}
    none = backend(**AMI, RETURN_BACKEND="none")
    assert none.channels is not None
    assert none.to_json() == {"kind": "none", "state": "off", "reason": "RETURN_BACKEND is none", "ami": DOWN}


def test_only_a_webhook_reports() -> None:
    for made in (backend(), backend(**AMI), backend(**ARI)):
        with pytest.raises(UnknownAttempt, match=f"webhook.* by {made.kind}"):
            made.report("1", "busy", "")
        assert not made.vouches(signature("placeholder", 1_000, b""), "", b"")


async def test_a_page_reports_on_what_rings_there() -> None:
    made = backend(RETURN_BACKEND="browser")
    made.startService()
    ringing = made.originator.place(ReturnRequest(CALL, "101", "1001", 10, attempt_id="a"))  # type: ignore[union-attr]
    made.report("a", "refused", "declined")
    assert await ringing == AttemptResult(AttemptEnd.REFUSED, "declined")
    with pytest.raises(UnknownAttempt, match="ended already"):
        made.report("a", "refused", "")
    assert not made.vouches(signature("placeholder", 1_000, b""), "", b"")
    await made.stopService()


async def test_a_webhooks_reports_and_signatures() -> None:
    (port,) = free_ports(1)
    made = backend(**{**WEBHOOK, "WEBHOOK_URL": f"http://127.0.0.1:{port}/"})
    body = b'{"attempt_id": "one", "end": "busy"}'
    assert made.vouches(signature("placeholder", 1_000, body), "one", body)
    assert not made.vouches(signature("placeholder", 1_000, body), "two", body)
    assert not made.vouches(signature("placeholder", 1_000, body), "one", body + b" ")
    assert made.originator is not None
    made.startService()
    results: list[AttemptResult] = []
    for attempt_id in ("one", "two"):
        request = ReturnRequest(CALL, "101", "1001", 10, attempt_id=attempt_id)
        made.originator.place(request).addCallback(results.append)
    with pytest.raises(InvalidReport):
        made.report("one", "won", "")
    with pytest.raises(UnknownAttempt, match="ended already"):
        made.report("three", "busy", "")
    made.report("one", "busy", "in a call")
    made.arrived(CALL)
    assert [result.end for result in results] == [AttemptEnd.BUSY, AttemptEnd.ANSWERED]
    await made.stopService()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({**ARI, "ARI_URL": "pbx:8088"}, "ARI_URL: 'pbx:8088' does not look like"),
        ({**ARI, "ARI_URL": "http://gate:hush@pbx"}, "ARI_URL: user and password do not belong"),
        ({**ARI, "ARI_URL": "http://pbx:8088/ari?api_key=gate:hush"}, "ARI_URL: a path is added to it"),
        ({**ARI, "ARI_USER": "gate:hush"}, "ARI_USER: there is a colon in it"),
        ({**WEBHOOK, "WEBHOOK_URL": "dialler?token=hush"}, "WEBHOOK_URL: 'dialler' does not look like"),
        ({**AMI, "AMI_SECRET": "hush\r\nAction: x"}, "AMI_USER, AMI_SECRET: "),
        ({"NODE_URL": "n1:8082"}, "NODE_URL: 'n1:8082' does not look like"),
        ({"NODE_URL": "http://n1:8082?token=hush"}, "NODE_URL: a path is added to it"),
        ({"RETURN_CHANNEL": "PJSIP/101"}, "RETURN_CHANNEL: 'PJSIP/101' must look like PJSIP/{number}"),
        ({"RETURN_CHANNEL": "PJSIP/{number}@{trunk}"}, "RETURN_CHANNEL: 'PJSIP/{number}@{trunk}' has braces"),
        ({"RETURN_CONTEXT": "return {ramal}"}, "RETURN_CONTEXT: 'return {ramal}' is not the name"),
        ({"RETURN_CONTEXT": "return-{numero}"}, "RETURN_CONTEXT: 'return-{numero}' has braces"),
        ({"RETURN_CALLER_ID": "a\nb"}, "RETURN_CALLER_ID: "),
        ({"RETURN_CALLER_ID": "Gate {gate}"}, "RETURN_CALLER_ID: 'Gate {gate}' has braces"),
    ],
)
def test_unusable_settings_are_rejected_by_name(values: dict[str, str], word: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        check(Settings.parse(values))
    assert str(refused.value).startswith(word)
    assert "hush" not in str(refused.value)


def test_usable_settings_pass() -> None:
    templates = {
        "RETURN_CHANNEL": "Local/{number}@cond-{condominio}/n",
        "RETURN_CONTEXT": "return-{condominio}",
        "RETURN_CALLER_ID": '"Portão {ramal}" <{retorno}>',
    }
    for values in ({}, AMI, ARI, WEBHOOK, templates):
        check(Settings.parse(values))
