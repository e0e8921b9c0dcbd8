"""The AMI and ARI accounts of ``examples/asterisk``: enough for the server, and no more."""

from __future__ import annotations

import pytest
import treq
from twisted.internet import endpoints, reactor
from twisted.internet.threads import deferToThread
from twisted.web.client import HTTPConnectionPool

from audiosocket.asterisk import dialplan
from audiosocket.cli.dialplan_check import dialplan_findings
from audiosocket.cli.reach import reach
from audiosocket.extensions.model import Extension
from audiosocket.settings import Settings
from tests.real_asterisk.amiclient import AmiClient, AmiError
from tests.real_asterisk.rig import Asterisk

pytestmark = pytest.mark.asterisk

DIALPLAN = """
[rings]
exten => s,1,Answer()
 same => n,Wait(10)
"""


async def log_in(asterisk: Asterisk) -> AmiClient:
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", asterisk.ports.ami)
    client: AmiClient = await endpoints.connectProtocol(endpoint, AmiClient())
    await client.action("Login", {"Username": "audiosocket", "Secret": asterisk.secret})
    return client


async def test_the_ami_account_places_finds_and_ends_a_call(asterisk: Asterisk) -> None:
    await asterisk.dialplan(DIALPLAN)
    account = await log_in(asterisk)
    placed = account.wait_for(lambda event: event.get("Event") == "OriginateResponse")
    entered = account.wait_for(lambda event: event.get("Event") == "Newexten" and event["Application"] == "Wait")
    call = {"Channel": "Local/s@rings/n", "Context": "rings", "Exten": "s", "Priority": "1", "Async": "true"}
    await account.action("Originate", {**call, "Variable": "AUDIOSOCKET_CALL_ID=x"})
    channel = (await placed)["Channel"]
    await entered
    assert channel in [found["Channel"] for found in await account.listing("CoreShowChannels")]
    asked = await account.action("Getvar", {"Channel": channel, "Variable": "AUDIOSOCKET_CALL_ID"})
    assert asked["Value"] == "x"
    await account.action("Hangup", {"Channel": channel})
    await asterisk.no_channels()
    await account.close(reactor)


@pytest.mark.parametrize(
    "action",
    [
        ("Command", {"Command": "core show version"}),
        ("GetConfig", {"Filename": "manager.conf"}),
        ("ModuleLoad", {"LoadType": "reload", "Module": "app_playback.so"}),
    ],
    ids=lambda action: action[0],
)
async def test_the_ami_account_may_do_nothing_else(asterisk: Asterisk, action: tuple[str, dict[str, str]]) -> None:
    account = await log_in(asterisk)
    with pytest.raises(AmiError, match="Permission denied"):
        await account.action(*action)
    await account.close(reactor)


async def test_the_ari_account(asterisk: Asterisk) -> None:
    pool = HTTPConnectionPool(reactor, persistent=False)
    url = f"http://127.0.0.1:{asterisk.ports.http}/ari/asterisk/info"
    known = await treq.get(url, auth=("audiosocket", asterisk.secret), pool=pool)
    assert known.code == 200
    assert (await known.json())["system"]["version"].startswith("22.")
    stranger = await treq.get(url, auth=("audiosocket", "guess"), pool=pool)
    assert stranger.code == 401
    await stranger.content()


async def test_check_reaches_both_accounts_and_knows_their_rights(asterisk: Asterisk) -> None:
    given = {
        "AMI_HOST": "127.0.0.1",
        "AMI_PORT": str(asterisk.ports.ami),
        "AMI_USER": "audiosocket",
        "AMI_SECRET": asterisk.secret,
        "ARI_URL": f"http://127.0.0.1:{asterisk.ports.http}",
        "ARI_USER": "audiosocket",
        "ARI_PASSWORD": asterisk.secret,
    }
    found = await deferToThread(lambda: [*reach(Settings.parse(given))])
    assert [one.level for one in found] == ["ok", "ok"], found
    wrong = {**given, "AMI_SECRET": "guess", "ARI_PASSWORD": "guess"}
    found = await deferToThread(lambda: [*reach(Settings.parse(wrong))])
    assert [one.what.partition(": ")[2] for one in found] == ["the account was refused"] * 2


async def test_doctor_knows_whether_the_dialplan_leads_to_the_ports(asterisk: Asterisk) -> None:
    given = {
        "AMI_HOST": "127.0.0.1",
        "AMI_PORT": str(asterisk.ports.ami),
        "AMI_USER": "audiosocket",
        "AMI_SECRET": asterisk.secret,
    }
    one = Extension(1, "1000", "1001", "192.0.2.7", 8080, 8081, 0)
    await asterisk.dialplan(dialplan.lines(one, style="plain"))
    there = {"id": 1, "ramal_ia": "1000", "porta_ia": 8080, "porta_retorno": 8081, "ramal_retorno": "1001"}
    other = {**there, "id": 2, "porta_ia": 9090, "porta_retorno": None}
    for extensions, levels in (([there], ["ok", "ok"]), ([other], ["warn"])):
        found = await deferToThread(lambda rows: [*dialplan_findings(Settings.parse(given), rows)], extensions)
        assert [finding.level for finding in found] == levels, found


async def test_the_list_of_commands_has_what_the_account_may_and_nothing_else(asterisk: Asterisk) -> None:
    """As `audiosocket.cli.reach` relies on."""
    account = await log_in(asterisk)
    listed = await account.action("ListCommands", {})
    assert {"Originate", "Hangup", "CoreShowChannels", "PlayDTMF"} <= set(listed)
    assert "Command" not in listed
    await account.close(reactor)
