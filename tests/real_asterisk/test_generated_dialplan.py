"""The dialplan printed for a row (`audiosocket.asterisk.dialplan`), pasted as it is into a real Asterisk."""

from __future__ import annotations

import pytest

from audiosocket.asterisk.dialplan import STYLES, Style, lines
from audiosocket.extensions.model import Extension
from tests.real_asterisk.handset import PickUp
from tests.real_asterisk.product import Server
from tests.real_asterisk.rig import Asterisk

pytestmark = pytest.mark.asterisk

# What FreePBX keeps around the file: from-internal with the include for custom contexts
FREEPBX = """
[from-internal]
include => from-internal-custom
"""


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("wideband", [False, True])
@pytest.mark.deadline(20)
async def test_a_visit_and_its_resident(
    asterisk: Asterisk, server: Server, pick_up: PickUp, style: Style, wideband: bool
) -> None:
    row = Extension(7, "2000", "*2001", server.host, server.visitor_port, server.return_port, 3)
    other = Extension(8, "porter", "3001", "192.0.2.1", 9, None, 4)
    text = lines(row, other, style=style, wideband=wideband)
    await asterisk.dialplan((FREEPBX if style == "freepbx" else "") + text)
    context = "from-internal" if style == "freepbx" else "audiosocket-visitor"
    visitor, _ = await pick_up(context=context, extension="2000")
    (call_id,) = await server.arrived()
    resident, _ = await pick_up(
        context="audiosocket-return", extension="*2001", variables={"AUDIOSOCKET_CALL_ID": call_id}
    )
    assert await server.arrived(role="resident") == [call_id]
    resident.hang_up()
    await server.left(call_id, "resident")
    visitor.hang_up()
    await visitor.gone
