"""Visits that must not let anybody in: what happens in each, and how it ends. Some two hundred.

A `Driver` carries the steps out: on the dialogue alone, or on a server in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from audiosocket.extensions.model import Role

VISITOR, RESIDENT = Role.VISITOR, Role.RESIDENT
KEYS = "0123456789*#ABCD"


class Driver(Protocol):
    """Those who take part in a visit, and time."""

    def join(self, role: Role) -> None:
        """A leg arrives; the visitor's is asked for a name, the resident's hears its greeting."""

    def leave(self, role: Role, *, broken: bool = False) -> None:
        """A leg hangs up, or its connection breaks."""

    def press(self, role: Role, keys: str) -> None:
        """Keys, one after the other; nothing if the leg is not there."""

    def speak(self, role: Role, sound: str) -> None:
        """Sound ("speech", "noise", "tone") for a second."""

    def hear_menu(self) -> None:
        """The resident listens until the menu has begun."""

    def ring_out(self) -> None:
        """What rings rings out."""

    def wait(self, seconds: float) -> None:
        """Time passes."""

    def answer_gate(self, *, opened: bool) -> None:
        """The gate, which was asked, answers."""

    def kill(self, *back: Role) -> None:
        """The server is killed; these legs are back in the next one, in this order."""


Step = Callable[[Driver], None]
Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Variation:
    """``outcome`` is the call's; None: the dialogue decides none, the visitor's leg does."""

    name: str
    steps: tuple[Step, ...]
    outcome: str | None
    #: The call's outcome where the dialogue decides none.
    leg_outcome: str = "caller_hangup"
    concierge: str = ""
    #: How often the gate was asked.
    asked: int = 0
    #: The call's outcome where it is another one than the dialogue's: no leg was there to be told.
    call_outcome: str = ""


def press(role: Role, keys: str) -> Step:
    return lambda driver: driver.press(role, keys)


def join(role: Role) -> Step:
    return lambda driver: driver.join(role)


def leave(role: Role, *, broken: bool = False) -> Step:
    return lambda driver: driver.leave(role, broken=broken)


def wait(seconds: float) -> Step:
    return lambda driver: driver.wait(seconds)


def kill(*back: Role) -> Step:
    return lambda driver: driver.kill(*back)


def speak(role: Role, sound: str) -> Step:
    return lambda driver: driver.speak(role, sound)


def gate(*, opened: bool) -> Step:
    return lambda driver: driver.answer_gate(opened=opened)


def hear_menu(driver: Driver) -> None:
    driver.hear_menu()


def ring_out(driver: Driver) -> None:
    driver.ring_out()


#: What leads to a stage.
TO_NAME = (join(VISITOR),)
TO_APARTMENT = (*TO_NAME, press(VISITOR, "#"), wait(0.5), press(VISITOR, "#"))
TO_RINGING = (*TO_NAME, press(VISITOR, "101#"))
TO_GREETING = (*TO_RINGING, join(RESIDENT))
TO_MENU = (*TO_GREETING, hear_menu)
TO_TALKING = (*TO_MENU, press(RESIDENT, "3"))
TO_OPENING = (*TO_MENU, press(RESIDENT, "1"))
TO_GAP = (*TO_NAME, press(VISITOR, "102#"), ring_out)
STAGES: dict[str, tuple[Step, ...]] = {
    "name": TO_NAME,
    "apartment": TO_APARTMENT,
    "ringing": TO_RINGING,
    "greeting": TO_GREETING,
    "menu": TO_MENU,
    "talking": TO_TALKING,
}


def variations() -> Iterator[Variation]:
    """All of them; no two have the same name."""
    yield from _keys_of_the_visitor()
    yield from _keys_of_the_resident()
    yield from _hangups()
    yield from _kills()
    yield from _wrong_residents()
    yield from _sounds()
    yield from _gates()


def _keys_of_the_visitor() -> Iterator[Variation]:
    steps: Steps
    for key in KEYS:
        for stage in ("name", "apartment"):
            steps = (*STAGES[stage], press(VISITOR, key * 3), leave(VISITOR))
            ended = "unknown_apartment" if key == "#" and stage == "apartment" else None
            yield Variation(f"visitor presses {key} in {stage}", steps, ended)
        yield Variation(
            f"visitor presses {key} in ringing", (*TO_RINGING, press(VISITOR, key * 3), ring_out), "no_answer"
        )
        for stage in ("greeting", "menu", "talking"):
            steps = (*STAGES[stage], press(VISITOR, key * 3), leave(RESIDENT))
            yield Variation(f"visitor presses {key} in {stage}", steps, "no_choice")
        steps = (*TO_OPENING, press(VISITOR, key * 2), gate(opened=False))
        yield Variation(f"visitor presses {key} while the gate opens", steps, "failed", asked=1)


def _keys_of_the_resident() -> Iterator[Variation]:
    steps: Steps
    for key in KEYS:
        for keys in (key, key * 4):
            steps = (*TO_GREETING, press(RESIDENT, keys), leave(RESIDENT))
            yield Variation(f"resident presses {keys} in the greeting", steps, "no_choice")
        if key not in "123":
            steps = (*TO_MENU, press(RESIDENT, key * 2), wait(60))
            yield Variation(f"resident presses {key} in the menu", steps, "no_choice")
            steps = (*TO_TALKING, press(RESIDENT, key * 2), leave(RESIDENT))
            yield Variation(f"resident presses {key} while talking", steps, "no_choice")
    for keys in ("2", "21", "42", "92", "32", "3142"[::-1][:2] + "2", "321"):
        yield Variation(f"resident presses {keys}", (*TO_MENU, press(RESIDENT, keys), wait(30)), "denied")
    yield Variation("resident presses nothing", (*TO_MENU, wait(60)), "no_choice")


def _hangups() -> Iterator[Variation]:
    for stage, steps in STAGES.items():
        for broken in (False, True):
            how = "is cut off" if broken else "hangs up"
            outcome = "connection_lost" if broken else "caller_hangup"
            yield Variation(
                f"visitor {how} in {stage}", (*steps, leave(VISITOR, broken=broken), wait(30)), None, outcome
            )
            if stage in {"greeting", "menu", "talking"}:
                yield Variation(
                    f"resident {how} in {stage}", (*steps, leave(RESIDENT, broken=broken), wait(30)), "no_choice"
                )
                both = (*steps, leave(VISITOR, broken=broken), press(RESIDENT, "111"), wait(1), leave(RESIDENT))
                if not broken:
                    yield Variation(f"visitor hangs up in {stage}, resident presses 1", both, None)


def _kills() -> Iterator[Variation]:
    orders: dict[str, tuple[Role, ...]] = {
        "nobody": (),
        "the visitor": (VISITOR,),
        "the resident": (RESIDENT,),
        "first the visitor": (VISITOR, RESIDENT),
        "first the resident": (RESIDENT, VISITOR),
    }
    for stage, steps in STAGES.items():
        for who, back in orders.items():
            if RESIDENT in back and stage in {"name", "apartment", "ringing"}:
                continue
            if not back:
                yield Variation(f"killed in {stage}, {who} is back", (*steps, kill()), None, "lost")
                continue
            ends = {"name": "unknown_apartment", "apartment": "unknown_apartment", "ringing": "no_answer"}
            after = (ring_out,) if stage == "ringing" else (wait(140),)
            if stage == "talking" and VISITOR not in back:  # until the visitor is given up
                yield Variation(f"killed in {stage}, {who} is back", (*steps, kill(*back), *after), None, "lost")
                continue
            yield Variation(
                f"killed in {stage}, {who} is back", (*steps, kill(*back), *after), ends.get(stage, "no_choice")
            )
            if stage in {"greeting", "menu"} and RESIDENT in back:
                keys = (*steps, kill(*back), press(RESIDENT, "1111"), leave(RESIDENT))
                lost = "" if VISITOR in back else "lost"
                name = f"killed in {stage}, {who} is back, 1 before the menu"
                yield Variation(name, keys, "no_choice", call_outcome=lost)
    yield Variation(
        "killed after 2", (*TO_MENU, press(RESIDENT, "2"), kill(VISITOR, RESIDENT), wait(30)), "denied"
    )
    yield Variation(
        "killed after 2, 1 after that",
        (*TO_MENU, press(RESIDENT, "2"), kill(RESIDENT, VISITOR), press(RESIDENT, "1"), wait(30)),
        "denied",
    )


def _wrong_residents() -> Iterator[Variation]:
    for stage in ("name", "apartment"):
        steps = (*STAGES[stage], join(RESIDENT), press(RESIDENT, "1111"), leave(VISITOR))
        yield Variation(f"a resident comes by itself in {stage}", steps, None)
    yield Variation(
        "who answered the number before comes late",
        (*TO_GAP, join(RESIDENT), press(RESIDENT, "1111"), wait(3), ring_out),
        "no_answer",
    )
    yield Variation(
        "a resident comes after it was denied",
        (*TO_MENU, press(RESIDENT, "2"), wait(1), join(RESIDENT), press(RESIDENT, "11"), wait(30)),
        "denied",
    )
    yield Variation(
        "nobody answers and the concierge says no",
        (*TO_RINGING, ring_out, wait(2.5), join(RESIDENT), hear_menu, press(RESIDENT, "2"), wait(30)),
        "denied",
        concierge="9",
    )
    yield Variation("no such apartment", (*TO_NAME, press(VISITOR, "9#9#9#"), wait(30)), "unknown_apartment")


def _sounds() -> Iterator[Variation]:
    for sound in ("speech", "noise", "tone"):
        for stage in ("greeting", "menu", "talking"):
            for role in Role:
                steps = (*STAGES[stage], speak(role, sound), leave(RESIDENT))
                yield Variation(f"{role.value} makes {sound} in {stage}", steps, "no_choice")


def _gates() -> Iterator[Variation]:
    for stage, steps in (("menu", TO_OPENING), ("talking", (*TO_TALKING, press(RESIDENT, "1")))):
        yield Variation(f"{stage}: the gate says no", (*steps, gate(opened=False)), "failed", asked=1)
        twice = (*steps, gate(opened=False), gate(opened=True), wait(30))
        yield Variation(f"{stage}: the gate says no, then yes", twice, "failed", asked=1)
        yield Variation(f"{stage}: the gate says nothing", (*steps, wait(60)), "failed", asked=1)
        for role in Role:
            left = (*steps, leave(role), wait(1), gate(opened=False), wait(30))
            yield Variation(f"{stage}: {role.value} leaves, the gate says no", left, "failed", asked=1)
        yield Variation(
            f"{stage}: the gate says no, and the concierge presses 1",
            (*steps, gate(opened=False), wait(12), join(RESIDENT), hear_menu, press(RESIDENT, "1"), wait(30)),
            "failed",
            concierge="9",
            asked=1,
        )
