"""The statements about nodes and commands, and the JSON of their rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from audiosocket.json_shapes.fleet import CommandResultJSON, NodeJSON

#: A node without a heartbeat for so long, by the clock of PostgreSQL, is gone; in seconds.
GONE_SECONDS = 5
#: A command that a node has not seen for so long is not carried out any more, in seconds.
COMMAND_SECONDS = 60

#: Writes a heartbeat unless another node that lives has the name. Returns whose it was, and whose it is now.
BEAT = f"""
    with given as (
        select * from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[],
                             %s::text[]) as g(name, life, place, url, version, generation, calls, state)),
    before as (select n.life from public.audiosocket_nodes n join given using (name)),
    written as (
        insert into public.audiosocket_nodes as n (name, life, place, url, version, generation, calls, state)
        select * from given
        on conflict (name) do update set
            life = excluded.life, place = excluded.place, url = excluded.url, version = excluded.version,
            generation = excluded.generation, calls = excluded.calls, state = excluded.state,
            started_at = case when n.life = excluded.life then n.started_at else clock_timestamp() end,
            seen_at = clock_timestamp()
        where n.life = excluded.life or n.place = excluded.place or n.state = 'gone'
            or n.seen_at < clock_timestamp() - interval '{GONE_SECONDS} s'
        returning n.life)
    select (select life from before), (select life from written)
"""  # noqa: S608
NODES = f"""
    select name, url, version, generation, calls,
        case when seen_at < clock_timestamp() - interval '{GONE_SECONDS} s' then 'gone' else state end,
        greatest(0, extract(epoch from clock_timestamp() - seen_at))::float8
    from public.audiosocket_nodes order by name limit 1000
"""  # noqa: S608
COMMAND = """
    with added as (
        insert into public.audiosocket_commands (node, action, argument, asked_by) values (%s, %s, %s, %s)
        returning id)
    select id, pg_notify(%s, 'command ' || id) from added
"""
#: Commands for a node that it has not answered: not those that were given before it started.
WAITING = f"""
    select c.id, c.action, c.argument, c.asked_by
    from public.audiosocket_commands c join public.audiosocket_nodes n on n.name = %s and n.life = %s
    where (c.node is null or c.node = n.name) and c.asked_at >= n.started_at
        and c.asked_at > clock_timestamp() - interval '{COMMAND_SECONDS} s'
        and not exists (select 1 from public.audiosocket_command_results r
                        where r.command_id = c.id and r.node = n.name)
    order by c.id limit 100
"""  # noqa: S608
ANSWER = """
    insert into public.audiosocket_command_results (command_id, node, done, message)
    select * from unnest(%s::bigint[], %s::text[], %s::boolean[], %s::text[]) on conflict do nothing
"""
RESULTS = "select node, done, message from public.audiosocket_command_results where command_id = %s order by node"
#: Begins what deletes, on one node at a time: others do nothing while it holds the lock.
LEAD = f"with lead as materialized (select pg_try_advisory_xact_lock({0x4155444F464C4554}) as held)"
#: Deletes nodes and commands that are over.
CLEAN = f"""{LEAD},
    nodes as (
        delete from public.audiosocket_nodes
        where (select held from lead) and seen_at < clock_timestamp() - interval '7 days')
    delete from public.audiosocket_commands
    where (select held from lead) and asked_at < clock_timestamp() - interval '1 day'
"""  # noqa: S608


def nodes_json(rows: Iterable[Sequence[Any]]) -> list[NodeJSON]:
    """Return the rows of `NODES` as the API shows them."""
    return [
        {
            "name": name,
            "url": url,
            "version": version,
            "generation": generation,
            "calls": calls,
            "state": state,
            "seen_seconds_ago": round(age, 1),
        }
        for name, url, version, generation, calls, state, age in rows
    ]


def results_json(rows: Iterable[Sequence[Any]]) -> list[CommandResultJSON]:
    """Return the rows of `RESULTS` as the API shows them."""
    return [{"node": node, "done": done, "message": message} for node, done, message in rows]
