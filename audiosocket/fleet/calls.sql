-- The calls of all nodes. A row is written by its owner; another node that a UUID comes to becomes the owner and
-- counts the epoch up, and the former owner's rows are refused from then on. "record" is a line of the call journal
-- that has whole telephone numbers: let nobody but the nodes read this table. It is empty once the call has ended.
create table if not exists public.audiosocket_calls (
    call_id uuid primary key,
    owner text not null,
    epoch bigint not null,
    extension_id integer not null,
    port integer not null,
    record text not null,
    owned_at timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz
);
create index if not exists audiosocket_calls_owner on public.audiosocket_calls (owner) where ended_at is null;

-- Authorisations: the row is there before the gate is asked to open, and a second one for the same visit is refused.
create table if not exists public.audiosocket_gate (
    call_id uuid not null,
    visit text not null,
    node text not null,
    at timestamptz not null default clock_timestamp(),
    opened boolean,
    answer text not null default '',
    primary key (call_id, visit)
);
