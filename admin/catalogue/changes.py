"""The messages of successful changes: English, Portuguese. The Portuguese ones are stable; scripts search them."""

from __future__ import annotations

from collections.abc import Mapping

CHANGES: Mapping[str, str] = {
    "Simulated, nothing was changed": "Simulação concluída, nada foi alterado",
    "Nothing was changed: {reason}": "Nada foi alterado: {reason}",
    "Configuration updated": "Configurações atualizadas com sucesso",
    "Extension {name} restarted": "Ramal {name} reiniciado com sucesso",
    "Extension {number} added": "Ramal {number} adicionado com sucesso",
    "Extension ID {id} updated": "Ramal ID {id} atualizado com sucesso",
    "Extension ID {id} removed": "Ramal ID {id} removido com sucesso",
    "Return call for {call_id} started": "Chamada de retorno iniciada para {call_id}",
    "Return call for {call_id} cancelled": "Chamada de retorno cancelada para {call_id}",
    "Command carried out: {command}": "Comando executado: {command}",
    "Attempt ended: {end}": "Tentativa encerrada: {end}",
    "KIND_HANGUP sent to {leg}": "KIND_HANGUP enviado com sucesso para {leg}",
    "{answered} node(s) answered; {missing} did not": "{answered} nó(s) responderam; {missing} não",
    "The node takes no new calls any more": "O nó não recebe mais chamadas novas",
    "The node took no new calls already": "O nó já não recebia chamadas novas",
    "The node takes new calls again": "O nó recebe chamadas novas de novo",
    "The node took new calls already": "O nó já recebia chamadas novas",
    "Media of {call_id} erased": "Mídia apagada de {call_id}",
}
