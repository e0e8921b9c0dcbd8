"""A visitor and a resident who talk: each sends a tone, by which the test recognises them."""

from __future__ import annotations

from collections.abc import Callable

from tests.real_asterisk import sound, visit
from tests.real_asterisk.handset import Handset, PickUp
from tests.real_asterisk.product import Row, Server
from tests.real_asterisk.sip_phones import SipPhones

VISITORS = {"1000": 440.0, "1002": 560.0}  # hertz: each leg has a tone of its own
RESIDENTS = {"2001": 700.0, "2002": 850.0}
SAYS = {number: sound.tone(8000, hertz, 1000) for number, hertz in RESIDENTS.items()}


def is_heard(hertz: float) -> Callable[[bytes], bool]:
    """Return a condition: the last second of audio is this tone and nothing else."""
    return lambda heard: sound.strength(bytes(heard)[-16000:], 8000, hertz) > 0.95 and len(heard) > 16000


async def enter(server: Server, pick_up: PickUp, row: Row) -> tuple[Handset, str]:
    """Place a visitor's call to this row; return its handset, which sends a tone, and the call's id."""
    before = set(await server.calls())
    visitor, _ = await pick_up(context="audiosocket-visitor", extension=row.number)
    visitor.play(sound.tone(8000, VISITORS[row.number], 30_000))
    (call_id,) = set(await server.arrived(len(before) + 1)) - before
    return visitor, call_id


async def check_talk(
    server: Server, house: SipPhones, visitor: Handset, call_id: str, row: Row, resident: str
) -> None:
    """Check that visitor and resident hear each other and nothing else, over the two ports of their row."""
    seen = await visitor.listen(is_heard(RESIDENTS[resident]), 15)
    assert is_heard(RESIDENTS[resident])(seen)
    heard = await house.listen(resident, is_heard(VISITORS[row.number]))
    assert is_heard(VISITORS[row.number])(heard)
    call = await server.call(call_id)
    assert call["extension"]["id"] == row.id
    assert (visit.leg(call, "visitor")["port"], visit.leg(call, "resident")["port"]) == (row.port, row.return_port)
    assert [(one["end"], one["number"]) for one in call["return"]["attempts"]] == [("answered", resident)]
    assert call["return"]["state"] == "connected"
