"""Carries out what a bot may do with its call, and refuses everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audiosocket.bots.commands import (
    AUTHORISED,
    Bridge,
    CancelDial,
    Command,
    Dial,
    HangUpLeg,
    PlayDigits,
    SetOutcome,
    Transfer,
    WriteNote,
    canonical_name,
    parse_command,
)
from audiosocket.bots.limits import Window
from audiosocket.errors import AudioSocketError, CommandRefused
from audiosocket.extensions.model import Role
from audiosocket.extensions.number_patterns import matches
from audiosocket.interfaces import AppContext, Authorisation, CallPolicy, Gate, Leg, Telephony

#: Commands of a bot in ten seconds.
MAX_COMMANDS, COMMANDS_MS = 20, 10_000


class CallCommands:
    """The commands of one leg.

    ``telephony`` is None where Asterisk's manager interface is not configured, ``gate`` where nothing opens one.
    """

    def __init__(
        self, leg: Leg, policy: CallPolicy, telephony: Telephony | None, gate: Gate | None = None
    ) -> None:
        self._gate = gate
        self._leg = leg
        self._policy = policy
        self._telephony = telephony

    async def run(self, name: str, command: Command) -> dict[str, Any]:
        """Carry out ``command`` and return what the bot is told; raises `CommandRefused`.

        ``name`` is what the bot called it, for the timeline.
        """
        try:
            told = await self._run(command)
        except AudioSocketError as problem:
            self._leg.note("bot.command", command=name, ok=False, reason=str(problem))
            raise problem if isinstance(problem, CommandRefused) else CommandRefused(str(problem)) from None
        self._leg.note("bot.command", command=name, ok=True)
        return told

    async def _run(self, command: Command) -> dict[str, Any]:
        leg = self._leg
        if isinstance(command, HangUpLeg):
            leg.hang_up()
        elif isinstance(command, Dial):
            return self._dial(command.numbers)
        elif isinstance(command, CancelDial):
            if not leg.cancel_resident():
                raise CommandRefused("nobody is being rung")
        elif isinstance(command, Bridge):
            if not leg.connect_other(command.connected):
                raise CommandRefused("there is no other leg in this call")
        elif isinstance(command, Transfer):
            await self._transfer(command.exten)
        elif isinstance(command, PlayDigits):
            await self._asterisk().play_digits(self._channel(), command.digits)
        elif isinstance(command, SetOutcome):
            return await self._decide(command.outcome)
        elif isinstance(command, WriteNote):
            leg.note("app.note", app="bot", text=command.text)
        return {}

    def _dial(self, numbers: Sequence[str]) -> dict[str, Any]:
        for number in numbers:
            if not matches(self._policy.bot_may_dial, number):
                raise CommandRefused(
                    f"{number[:40]!r} may not be rung: bot_may_dial of this extension does not list it"
                )
        self._leg.call_resident(numbers)
        return {"state": "ringing"}

    async def _transfer(self, exten: str) -> None:
        context = self._policy.transfer_context
        if not context:
            raise CommandRefused("transfers are not allowed: transfer_context is not set for this extension")
        if not matches(self._policy.bot_may_transfer_to, exten):
            raise CommandRefused(
                f"a transfer to {exten!r} is not allowed: bot_may_transfer_to of this extension does not list it"
            )
        await self._asterisk().redirect(self._channel(), context, exten)

    async def _decide(self, outcome: str) -> dict[str, Any]:
        leg = self._leg
        if outcome == AUTHORISED and not self._policy.bot_may_authorise:
            raise CommandRefused("a bot may not authorise: bot_may_authorise is not set for this extension")
        if not leg.decide(outcome):
            raise CommandRefused("the call has an outcome already")
        if outcome != AUTHORISED or self._gate is None:
            return {}
        visitor = leg.caller if leg.role is Role.VISITOR else None
        channel = visitor.channel if visitor is not None else ""
        answer = await self._gate.open(
            Authorisation(leg.call_id, "bot", leg.extension, "", "", "bot", False, "bot", channel)
        )
        return {"gate_opened": answer.opened, **({"gate_reason": answer.reason} if answer.reason else {})}

    def _asterisk(self) -> Telephony:
        if self._telephony is None:
            raise CommandRefused("Asterisk's manager interface is not configured (AMI_HOST)")
        return self._telephony

    def _channel(self) -> str:
        caller = self._leg.caller
        if caller is None or not caller.channel:
            raise CommandRefused("the caller's channel is not known")
        return caller.channel


@dataclass(frozen=True)
class CommandAnswer:
    """What a bot is told; ``error`` is empty when it was done, ``hang_up`` ends the leg after its audio."""

    error: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    hang_up: bool = False


class BotCommands:
    """The commands of a bot on its own connection; ``allowed`` are those it may use, None for all."""

    def __init__(self, leg: Leg, context: AppContext, allowed: frozenset[str] | None) -> None:
        self._leg = leg
        self._commands = CallCommands(leg, context.policy, context.telephony, context.gate)
        self._allowed = allowed
        self._window = Window(MAX_COMMANDS, COMMANDS_MS)

    async def run(self, name: str, arguments: Mapping[str, Any]) -> CommandAnswer:
        """Carry out a command, or say why not."""
        shown = name[:40]
        try:
            self._check(name)
            command = parse_command(name, arguments)
            if isinstance(command, HangUpLeg) and command.drain:
                self._leg.note("bot.command", command=shown, ok=True)
                return CommandAnswer(hang_up=True)
            return CommandAnswer(values=await self._commands.run(shown, command))
        except CommandRefused as problem:
            return CommandAnswer(error=str(problem))

    def _check(self, name: str) -> None:
        if not self._window.allows(self._leg.now_ms):
            raise CommandRefused(f"more than {MAX_COMMANDS} commands in {COMMANDS_MS // 1000} s")
        if self._allowed is not None and canonical_name(name) not in self._allowed:
            raise CommandRefused(f"{name[:40]} is not among the tools of this extension")
