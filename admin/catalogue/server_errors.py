"""The errors that the server answers the API with: English, Portuguese; ``{name}`` is what differs each time."""

from __future__ import annotations

from collections.abc import Mapping

#: Of a port: what is wrong with it.
_PORT_PROBLEMS: Mapping[str, str] = {
    "port {port} is in use, listening on {other_port} instead": (
        "porta {port} em uso, escutando na {other_port} no lugar dela"
    ),
    "port {port} is in use by another program": "porta {port} em uso por outro programa",
    "port {port} needs privileges: use one above 1023 or grant CAP_NET_BIND_SERVICE": (
        "porta {port} exige privilégios: use uma acima de 1023 ou conceda CAP_NET_BIND_SERVICE"
    ),
    "port {port}: {problem}": "porta {port}: {problem}",
    "port {port} is not open yet": "porta {port} ainda não está aberta",
}

SERVER_ERRORS: Mapping[str, str] = {
    # the messages of errors without a text, in admin.responses
    "The extension is not valid.": "O ramal não é válido.",
    "Another extension has this number or port.": "Outro ramal tem este número ou esta porta.",
    "There is no such extension.": "Não existe esse ramal.",
    "There is no such call, or it has no such live leg.": (
        "Não existe essa chamada, ou ela não tem essa perna ativa."
    ),
    "The database does not allow this change.": "O banco de dados não permite esta mudança.",
    "The database is not available.": "O banco de dados não está disponível.",
    "The number is not valid.": "O número não é válido.",
    "The state of the call does not allow this now.": "O estado da chamada não permite isso agora.",
    "Return calls cannot be placed now.": "Não é possível fazer chamadas de retorno agora.",
    "The worker process does not answer; try again.": "O processo não responde; tente de novo.",
    "The command is not valid.": "O comando não é válido.",
    "The command was not carried out.": "O comando não foi executado.",
    "Asterisk did not do it.": "O Asterisk não o fez.",
    "There is no such attempt, or it has ended.": "Não existe essa tentativa, ou ela já terminou.",
    "The report is not valid.": "O relato não é válido.",
    "The node that was asked does not answer.": "O nó consultado não responde.",
    "The node that was asked cannot be reached.": "O nó consultado não pode ser alcançado.",
    # other nodes
    "node {name} did not answer in time": "o nó {name} não respondeu a tempo",
    "node {name} cannot be asked: {problem}": "o nó {name} não pode ser consultado: {problem}",
    "node {name} cannot be asked: HTTP {status}": "o nó {name} não pode ser consultado: HTTP {status}",
    "node {name} refuses the requests of this one (HTTP {status}); "
    "give all nodes the same API_TOKEN, and each its own NODE_URL": (
        "o nó {name} recusa as requisições deste (HTTP {status}); "
        "dê a todos o mesmo API_TOKEN, e a cada um a sua NODE_URL"
    ),
    "node {name} answers something else than JSON; check its NODE_URL": (
        "o nó {name} responde algo que não é JSON; verifique a NODE_URL dele"
    ),
    "node {name} answers something else than a page of calls; check its NODE_URL": (
        "o nó {name} responde algo que não é uma página de chamadas; verifique a NODE_URL dele"
    ),
    # extensions
    "is not an object": "não é um objeto",
    "porta_ia is blank; it must be a TCP port (1 to 65535)": (
        "porta_ia está vazia; deve ser uma porta TCP (1 a 65535)"
    ),
    "porta_retorno is {port}, the same as porta_ia": "porta_retorno é {port}, a mesma de porta_ia",
    "ramal_ia is blank; visitors need a number to call": (
        "ramal_ia está vazio; visitantes precisam de um número para chamar"
    ),
    "{key} is {value}, not text": "{key} é {value}, não um texto",
    "{key} has {length} characters, more than {limit}": "{key} tem {length} caracteres, mais que {limit}",
    "{key} is {value}: control characters are not allowed": (
        "{key} é {value}: caracteres de controle não são permitidos"
    ),
    "{key} is {value}, not a TCP port (1 to 65535)": "{key} é {value}, não uma porta TCP (1 a 65535)",
    "{key} is {value}, not an integer": "{key} é {value}, não um inteiro",
    "{key} is {value}, out of the range of an integer column": (
        "{key} é {value}, fora dos limites de uma coluna integer"
    ),
    "ramal_ia {number} belongs to extension {id}": "ramal_ia {number} pertence ao ramal {id}",
    "port {port} belongs to extension {id}": "a porta {port} pertence ao ramal {id}",
    "port {port} is the API's own": "a porta {port} é a da própria API",
    "port {port} is outside FLEET_PORTS ({range}), so that no call would arrive; "
    "take a port inside, or change the balancer and FLEET_PORTS": (
        "a porta {port} está fora de FLEET_PORTS ({range}), e nenhuma chamada chegaria; "
        "use uma porta de dentro, ou mude o balanceador e FLEET_PORTS"
    ),
    "no extension with ramal_ia {number} is running": "nenhum ramal com ramal_ia {number} está ativo",
    "no extension with id {id} is running": "nenhum ramal com id {id} está ativo",
    "the table has no extension with id {id}": "a tabela não tem ramal com id {id}",
    "no row with extension_ia_id {id}": "nenhuma linha tem extension_ia_id {id}",
    "host is {host}, which is neither an IP address nor a host name": (
        "host é {host}, que não é endereço IP nem nome de máquina"
    ),
    "host is {host}, which names no machine": "host é {host}, que não nomeia uma máquina",
    "ip_servidor is {host}, which is neither an IP address nor a host name": (
        "ip_servidor é {host}, que não é endereço IP nem nome de máquina"
    ),
    "{key} is {number}, which cannot stand in a dialplan; it may have letters, digits and * # + and, "
    "but for its beginning, _ . -": (
        "{key} é {number}, que não pode estar num dialplan; pode ter letras, dígitos e * # + e, "
        "menos no início, _ . -"
    ),
    "{key} is {number}, which Asterisk keeps for its own purposes": (
        "{key} é {number}, que o Asterisk reserva para si"
    ),
    "{key} {number} belongs to extension {id} and to extension {other}; "
    "Asterisk would send the calls of both to the first": (
        "{key} {number} pertence ao ramal {id} e ao ramal {other}; "
        "o Asterisk mandaria as chamadas dos dois ao primeiro"
    ),
    # database and files
    "no database is configured; set DB_HOST to use one": (
        "nenhum banco de dados está configurado; defina DB_HOST para usar um"
    ),
    "the server is stopping": "o servidor está parando",
    "the database is busy with earlier requests; try again": (
        "o banco de dados está ocupado com pedidos anteriores; tente de novo"
    ),
    "the database refuses it: {problem}": "o banco de dados recusa: {problem}",
    "the database does not allow it: {problem}": "o banco de dados não permite: {problem}",
    "{problem}; whether the change was made is not known, look first": (
        "{problem}; não se sabe se a mudança foi feita, verifique antes"
    ),
    "DB_PASSWORD_FILE was not read within {seconds} s": "DB_PASSWORD_FILE não foi lido em {seconds} s",
    "no answer within {seconds} s": "sem resposta em {seconds} s",
    "the connection was lost": "a conexão se perdeu",
    "a value in the answer cannot be read: {problem}": "um valor na resposta não pode ser lido: {problem}",
    "no answer from the name server within {seconds} s": "sem resposta do servidor de nomes em {seconds} s",
    "PostgreSQL still keeps {count} earlier session(s) of this server": (
        "o PostgreSQL ainda mantém {count} sessão(ões) anterior(es) deste servidor"
    ),
    "the local file cannot be written ({cause}); nothing changed": (
        "o arquivo local não pode ser gravado ({cause}); nada mudou"
    ),
    "the audit file cannot be read: {cause}": "o arquivo de auditoria não pode ser lido: {cause}",
    "the recordings cannot be read: {cause}": "as gravações não podem ser lidas: {cause}",
    "a recording cannot be erased: {cause}": "uma gravação não pode ser apagada: {cause}",
    "the table has {found} usable rows and {running} extensions run; it is applied when it looks the "
    'same once more, or by POST /api/refresh with {"force": true}': (
        "a tabela tem {found} linhas utilizáveis e {running} ramais estão ativos; ela é aplicada quando vier "
        'igual mais uma vez, ou por POST /api/refresh com {"force": true}'
    ),
    # calls and return calls
    "no live {role} leg with call_id {call_id}": "nenhuma perna {role} ativa com call_id {call_id}",
    "no live or recent call {call_id}": "nenhuma chamada ativa ou recente {call_id}",
    "no live call {call_id}": "nenhuma chamada ativa {call_id}",
    "the call {call_id} has ended": "a chamada {call_id} terminou",
    "no return call for {call_id} is under way": "nenhuma chamada de retorno para {call_id} em andamento",
    "a return call for {call_id} is already under way": "já há uma chamada de retorno para {call_id} em andamento",
    "the call {call_id} has its resident already": "a chamada {call_id} já tem o seu morador",
    "no visitor is waiting in the call {call_id}": "nenhum visitante espera na chamada {call_id}",
    "extension {id} needs ramal_retorno and porta_retorno for a return call": (
        "o ramal {id} precisa de ramal_retorno e porta_retorno para uma chamada de retorno"
    ),
    "the call {call_id} has had {count} return calls, which is the most": (
        "a chamada {call_id} já teve {count} chamadas de retorno, o máximo"
    ),
    "return calls are not configured; set AMI_HOST, ARI_URL or WEBHOOK_URL and what goes with it": (
        "chamadas de retorno não estão configuradas; defina AMI_HOST, ARI_URL ou WEBHOOK_URL e o que vai junto"
    ),
    "this server places no return calls": "este servidor não faz chamadas de retorno",
    "there are {count} numbers; give 1 to {limit}": "há {count} números; dê de 1 a {limit}",
    "{number} is not a number that can be called": "{number} não é um número que se possa chamar",
    "end must be one of {known}": "end deve ser um destes: {known}",
    "only a webhook or a page reports on attempts, and return calls are placed by {kind}": (
        "só um webhook ou uma página relata tentativas, e as chamadas de retorno são feitas por {kind}"
    ),
    "no attempt with this id is in progress; it may have ended already": (
        "nenhuma tentativa com este id está em andamento; talvez já tenha terminado"
    ),
    # commands for a call
    "there is no command {name}; there are {known}": "não existe o comando {name}; existem {known}",
    "{name} has no argument {argument}": "{name} não tem o argumento {argument}",
    "drain must be true or false": "drain deve ser true ou false",
    "1 to {limit} numbers are needed, as texts": "são necessários de 1 a {limit} números, como textos",
    "{argument} must be {must_be}": "{argument} deve ser {must_be}",
    "an extension of the dialplan": "uma extensão do dialplan",
    "digits": "dígitos",
    "one word in lower case": "uma palavra em minúsculas",
    "text must be a text of 1 to {limit} characters": "text deve ser um texto de 1 a {limit} caracteres",
    "nobody is being rung": "ninguém está sendo chamado",
    "there is no other leg in this call": "não há outra perna nesta chamada",
    "{number} may not be rung: bot_may_dial of this extension does not list it": (
        "{number} não pode ser chamado: não está em bot_may_dial deste ramal"
    ),
    "transfers are not allowed: transfer_context is not set for this extension": (
        "transferências não são permitidas: transfer_context não está definido para este ramal"
    ),
    "a transfer to {extension} is not allowed: bot_may_transfer_to of this extension does not list it": (
        "uma transferência para {extension} não é permitida: não está em bot_may_transfer_to deste ramal"
    ),
    "a bot may not authorise: bot_may_authorise is not set for this extension": (
        "um bot não pode autorizar: bot_may_authorise não está definido para este ramal"
    ),
    "the call has an outcome already": "a chamada já tem um desfecho",
    "Asterisk's manager interface is not configured (AMI_HOST)": (
        "a interface de gerência do Asterisk não está configurada (AMI_HOST)"
    ),
    "the caller's channel is not known": "o canal de quem liga não é conhecido",
    "more than {count} commands in {seconds} s": "mais de {count} comandos em {seconds} s",
    "{name} is not among the tools of this extension": "{name} não está entre as ferramentas deste ramal",
    "Redirect: {problem}": "Redirect: {problem}",
    "{played} of {keys} keys were played: {problem}": "{played} de {keys} teclas foram tocadas: {problem}",
    # nodes
    "{action} is no command; there are: {known}": "{action} não é um comando; existem: {known}",
    "{action} takes no argument": "{action} não tem argumento",
    "there is no node {node} now; there are: {known}": "não há um nó {node} agora; existem: {known}",
    "no call {call_id} was taken over": "nenhuma chamada {call_id} foi assumida",
    "PostgreSQL was busy for {seconds} s": "o PostgreSQL esteve ocupado por {seconds} s",
    "no answer from PostgreSQL within {seconds} s": "sem resposta do PostgreSQL em {seconds} s",
    # workers
    "{name} is being replaced; try again in a moment": "{name} está sendo substituído; tente de novo em instantes",
    "{name} is not connected; try again in a moment": "{name} não está conectado; tente de novo em instantes",
    "{name} did not respond within {seconds} s": "{name} não respondeu em {seconds} s",
    "{name} is gone; try again in a moment": "{name} não existe mais; tente de novo em instantes",
    # probes
    "draining": "drenando",
    "stopping": "parando",
    "no configuration has been applied yet": "nenhuma configuração foi aplicada ainda",
    "no worker is up": "nenhum processo está ativo",
    "no file descriptors are left for new calls": "não restam descritores de arquivo para novas chamadas",
    "{name} has no file descriptors left for new calls": (
        "{name} não tem mais descritores de arquivo para novas chamadas"
    ),
    "the reactor was {seconds} s late within the last 10 s": "o reator atrasou {seconds} s nos últimos 10 s",
    "the clock of the calls has stood still for {seconds} s": "o relógio das chamadas está parado há {seconds} s",
    "the clock of {name} has stood still for {seconds} s": "o relógio de {name} está parado há {seconds} s",
    "{name} was {seconds} s late": "{name} atrasou {seconds} s",
    "{name} listens on {count} of {wanted} ports": "{name} escuta em {count} de {wanted} portas",
    "{name} is starting": "{name} está iniciando",
    "{name} is down": "{name} não está ativo",
    "extension {id}: {reason}": "ramal {id}: {reason}",
    **{f"visitor {english}": f"visitantes: {there}" for english, there in _PORT_PROBLEMS.items()},
    **{f"resident {english}": f"moradores: {there}" for english, there in _PORT_PROBLEMS.items()},
}
