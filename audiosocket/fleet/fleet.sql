-- What the nodes of a fleet share. May be run any number of times: what exists stays.
-- The server needs select, insert, update and delete on these tables, and no right to create anything. Whoever may
-- write to audiosocket_nodes can have the API token of the nodes sent to an address of his own; whoever may write to
-- audiosocket_commands can hang up calls. Grant both to the role of the server only.

-- One row for each node. A node is gone when seen_at is more than 5 s ago.
create table if not exists public.audiosocket_nodes
(
    name       text        primary key,
    life       text        not null,
    place      text        not null,
    url        text        not null,
    version    text        not null,
    generation text        not null,
    calls      integer     not null,
    state      text        not null,
    started_at timestamptz not null default clock_timestamp(),
    seen_at    timestamptz not null default clock_timestamp()
);

-- Commands to one node, or to each that is there (node is null). Old ones are deleted by one of the nodes.
create table if not exists public.audiosocket_commands
(
    id       bigint      generated always as identity primary key,
    node     text,
    action   text        not null,
    argument text        not null,
    asked_by text        not null,
    asked_at timestamptz not null default clock_timestamp()
);

-- What became of a command on a node.
create table if not exists public.audiosocket_command_results
(
    command_id  bigint      not null references public.audiosocket_commands on delete cascade,
    node        text        not null,
    done        boolean     not null,
    message     text        not null,
    answered_at timestamptz not null default clock_timestamp(),
    primary key (command_id, node)
);
