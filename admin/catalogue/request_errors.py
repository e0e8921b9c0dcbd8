"""The errors that the API itself raises: English, Portuguese; ``{name}`` is what differs each time."""

from __future__ import annotations

from collections.abc import Mapping

REQUEST_ERRORS: Mapping[str, str] = {
    # admin.responses
    "The server failed; its log has the reason.": "O servidor falhou; o motivo está no log.",
    "The server refuses this request.": "O servidor recusa esta requisição.",
    "There is no resource {path}.": "Não existe o recurso {path}.",
    "{path} allows only {allowed}.": "{path} só aceita {allowed}.",
    # admin.requests
    "The body is of the type {type}; send JSON as application/json.": (
        "O corpo é do tipo {type}; envie JSON como application/json."
    ),
    "The body is empty; send a JSON object.": "O corpo está vazio; envie um objeto JSON.",
    "The body is nested too deeply.": "O corpo tem níveis demais.",
    "The body is not UTF-8 text (or has an unpaired surrogate).": (
        "O corpo não é texto UTF-8 (ou tem um surrogate sem par)."
    ),
    "The body is not valid JSON: {problem}.": "O corpo não é JSON válido: {problem}.",
    "The body is {value}, not a JSON object.": "O corpo é {value}, não um objeto JSON.",
    "the key {key} occurs twice": "a chave {key} aparece duas vezes",
    "{number} is not a JSON number": "{number} não é um número JSON",
    "{number} is out of range": "{number} está fora dos limites",
    "id is assigned by the server; leave it out.": "o id é dado pelo servidor; não o envie.",
    "id cannot change; leave it out or send {id}.": "o id não pode mudar; não o envie, ou envie {id}.",
    "There is nothing to change; send at least one of {known}.": (
        "Não há nada a mudar; envie ao menos um destes: {known}."
    ),
    "attempt_id in the body is not that of the path.": "attempt_id no corpo não é o do caminho.",
    "since is {value}, neither ISO 8601 nor Unix time.": "since é {value}, nem ISO 8601 nem tempo Unix.",
    "call_id is {value}, not a UUID.": "call_id é {value}, não um UUID.",
    "No extension has the id {id}.": "Nenhum ramal tem o id {id}.",
    # admin.openapi.fields and inputs
    "{key} is {value}; it must be {must_be}.": "{key} é {value}; deve ser {must_be}.",
    "{key} is unknown; known are {known}.": "{key} não é conhecido; os conhecidos são {known}.",
    'Name the extension: {"extension_id": 123} or {"ramal": "1001"}.': (
        'Diga qual ramal: {"extension_id": 123} ou {"ramal": "1001"}.'
    ),
    "call_id is missing; it is the UUID of the call.": "falta call_id; é o UUID da chamada.",
    "action is missing; it is one of {known}.": "falta action; é um destes: {known}.",
    # admin.routes.fleet
    "This server is no node of a fleet; set FLEET=true.": (
        "Este servidor não é nó de uma frota; defina FLEET=true."
    ),
    'Give the number to call: {"number": "101"} or {"numbers": ["101", "102"]}.': (
        'Diga o número a chamar: {"number": "101"} ou {"numbers": ["101", "102"]}.'
    ),
    'Give how the attempt ended: {"end": "busy", "reason": "in another call"}.': (
        'Diga como a tentativa terminou: {"end": "busy", "reason": "em outra chamada"}.'
    ),
    # admin.access and admin.token_auth
    "The token {name} has the scope {scope}; this request needs {needed}.": (
        "O token {name} tem o escopo {scope}; esta requisição precisa de {needed}."
    ),
    "The token of a call is valid for commands to that call only.": (
        "O token de uma chamada só vale para comandos a essa chamada."
    ),
    "The request has {count} Host headers; HTTP/1.1 requires exactly one.": (
        "A requisição tem {count} cabeçalhos Host; HTTP/1.1 exige exatamente um."
    ),
    "Host {host} is not a name of this server; use its address, or add the name to API_ALLOWED_HOSTS.": (
        "O Host {host} não é um nome deste servidor; use o endereço dele, ou inclua o nome em API_ALLOWED_HOSTS."
    ),
    "A node answers another one for itself only; leave out fleet.": (
        "Um nó só responde a outro por si mesmo; deixe fleet de fora."
    ),
    "This is node {name}, not node {wanted}; give each its own NODE_URL.": (
        "Este é o nó {name}, não o nó {wanted}; dê a cada um a sua NODE_URL."
    ),
    "The request is for {path}, which is not a path.": "A requisição é para {path}, que não é um caminho.",
    "The path is not UTF-8 text.": "O caminho não é texto UTF-8.",
    "The path has a % that is not followed by two hexadecimal digits.": (
        "O caminho tem um % sem dois dígitos hexadecimais depois."
    ),
    "Web pages of other sites may not send this request.": (
        "Páginas de outros sites não podem enviar esta requisição."
    ),
    "Web pages of {origin} may not send this request.": "Páginas de {origin} não podem enviar esta requisição.",
    "With a cookie this request needs an Origin header; scripts send a token instead.": (
        "Com um cookie esta requisição precisa do cabeçalho Origin; programas enviam um token em vez disso."
    ),
    "This server requires its API_TOKEN: send 'Authorization: Bearer ...'.": (
        "Este servidor exige o seu API_TOKEN: envie 'Authorization: Bearer ...'."
    ),
    "The token in the Authorization header is not one of this server's tokens.": (
        "O token no cabeçalho Authorization não é um dos tokens deste servidor."
    ),
    "Too many wrong tokens from {peer}; wait {seconds} s.": "Tokens errados demais de {peer}; espere {seconds} s.",
    "Sign in with the token: send 'Authorization: Bearer ...'.": (
        "Entre com o token: envie 'Authorization: Bearer ...'."
    ),
    # admin.site and admin.websocket
    "The client has left.": "O cliente saiu.",
    "A line of the request is longer than {limit} bytes.": "Uma linha da requisição tem mais de {limit} bytes.",
    "This is not a well-formed HTTP/1.1 request.": "Esta não é uma requisição HTTP/1.1 bem formada.",
    "The body is larger than {limit} bytes.": "O corpo tem mais de {limit} bytes.",
    "There are {limit} telephones in use; close one.": "Há {limit} telefones em uso; feche um.",
    "This is not the opening of a WebSocket: {problem}": "Isto não é a abertura de um WebSocket: {problem}",
    "This path is for a WebSocket.": "Este caminho é para um WebSocket.",
    # admin.routes
    "The page has no file {name}.": "A página não tem o arquivo {name}.",
    "{limit} clients follow the events already.": "{limit} clientes já seguem os eventos.",
    "The telephone in the browser is switched off (PHONE=false).": (
        "O telefone no navegador está desligado (PHONE=false)."
    ),
    "Return calls do not ring here: RETURN_BACKEND is {kind}, not browser.": (
        "Chamadas de retorno não tocam aqui: RETURN_BACKEND é {kind}, não browser."
    ),
    "Give the number of the extension: /api/phone?extension=1000.": (
        "Diga o número do ramal: /api/phone?extension=1000."
    ),
    "ring is not true; leave it out to call an extension.": "ring não é true; não o envie para chamar um ramal.",
    "rate is {value}, not one of {known}.": "rate é {value}, nenhum destes: {known}.",
    "Extension {number} is not listening: {reason}.": "O ramal {number} não está escutando: {reason}.",
    "No extension {number} runs.": "Nenhum ramal {number} está ativo.",
    "The return port of extension {number} is not listening.": (
        "A porta de retorno do ramal {number} não está escutando."
    ),
    "Not ready.": "Não está pronto.",
}

#: What a value must be, at the end of "{key} is {value}; it must be {must_be}."
MUST_BE: Mapping[str, str] = {
    "the name of a node": "o nome de um nó",
    "true or false": "true ou false",
    "text": "texto",
    "a number": "um número",
    "a TCP port": "uma porta TCP",
    "a TCP port, or nothing": "uma porta TCP, ou nada",
    "an integer": "um inteiro",
    "the id of the path": "o id do caminho",
    "the number of an extension as text": "o número de um ramal como texto",
    "a UUID": "um UUID",
    "text of at most {limit} characters": "texto de no máximo {limit} caracteres",
    "text, or a number without a sign": "texto, ou um número sem sinal",
    "text or a list of texts": "texto ou uma lista de textos",
    "an address": "um endereço",
    "a number from {low} to {high}": "um número de {low} a {high}",
    "ISO 8601 or Unix time": "ISO 8601 ou tempo Unix",
    "the next_cursor of a page": "o next_cursor de uma página",
    "names of events, separated by commas": "nomes de eventos, separados por vírgulas",
    "one of {choices}": "um destes: {choices}",
    "{one} or {other}": "{one} ou {other}",
}
