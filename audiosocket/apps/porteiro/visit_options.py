"""The options of a visit, as settings and the rules of the call say."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from audiosocket.apps.porteiro.script import Options
from audiosocket.errors import LocalProtocolError
from audiosocket.extensions.model import Extension, Role
from audiosocket.interfaces import AppContext
from audiosocket.prompts.notice import is_due
from audiosocket.returncalls.templates import filled

_log = Logger()


def options_of(context: AppContext, extension: Extension) -> Options:
    """Return the options of a visit that came in by ``extension``; a concierge that cannot be rung is logged."""
    policy, chains = context.policy, context.chains
    notice = frozenset(role for role in Role if is_due(policy, chains.get(role, ()), "porteiro"))
    return Options(_concierge(context.settings.porteiro_concierge, extension), notice)


def _concierge(template: str, extension: Extension) -> str:
    """Return the concierge's number for this extension, empty where there is none."""
    try:
        return filled(template, _places(extension))
    except LocalProtocolError as problem:
        _log.error("PORTEIRO_CONCIERGE: {problem}", problem=problem)
        return ""


def _places(extension: Extension) -> Mapping[str, str]:
    return {
        "ramal": extension.number,
        "retorno": extension.return_number,
        "condominio": str(extension.condominium_id),
    }
