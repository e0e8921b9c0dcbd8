"""The statements about the tables ``audiosocket_calls`` and ``audiosocket_gate`` (``calls.sql``). Pure.

Who has a call is decided by these alone, each in one statement: a row is changed by its owner at its epoch, or by
who takes it over. All nodes are notified of each call that was taken over: its UUID, its epoch, its new owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audiosocket.fleet.node_table import LEAD
from audiosocket.fleet.own_calls import NOT_ASKED, CallRow

#: The kind of the notifications, see `FleetDatabase.hear`.
TAKEN_OVER = "call"

#: Values: UUIDs, extensions and ports of the legs, this node, this node.
LOOK_UP = """
    with asked as (
        select * from unnest(%s::uuid[], %s::integer[], %s::integer[]) as a (call_id, extension_id, port)
    ), adopted as (
        update public.audiosocket_calls c
        set owner = %s, epoch = c.epoch + 1, owned_at = clock_timestamp()
        from asked a
        where c.call_id = a.call_id and c.ended_at is null
            and (c.extension_id = a.extension_id or c.port = a.port)
        returning c.call_id, c.epoch, c.record, extract(epoch from clock_timestamp() - c.changed_at)::float8 age
    )
    select c.call_id, c.epoch, c.owner, extract(epoch from clock_timestamp() - c.ended_at)::float8,
        a.epoch, a.record, a.age, case when a.call_id is not null then
            pg_notify('audiosocket_fleet', 'call ' || a.call_id || ' ' || a.epoch || ' ' || %s::text)::text end
    from (select distinct call_id from asked) q
    join public.audiosocket_calls c using (call_id) left join adopted a using (call_id)
"""

#: Values: the columns of `written_values`, this node, this node. A row of a call that began while the table could
#: not be asked (epoch 0, `own_calls.NOT_ASKED`) replaces what was there before that call.
WRITE = """
    with new as (
        select * from unnest(%s::uuid[], %s::bigint[], %s::integer[], %s::integer[], %s::text[], %s::float8[])
            as n (call_id, epoch, extension_id, port, record, age)
    ), written as (
        insert into public.audiosocket_calls as c
            (call_id, owner, epoch, extension_id, port, record, owned_at, ended_at)
        select call_id, %s, epoch, extension_id, port, record, clock_timestamp() - age * interval '1 second',
            case when record = '' then clock_timestamp() end
        from new order by call_id
        on conflict (call_id) do update set
            owner = excluded.owner,
            epoch = case when excluded.epoch = 0 then c.epoch + 1 else excluded.epoch end,
            extension_id = excluded.extension_id, port = excluded.port, record = excluded.record,
            owned_at = case when c.owner = excluded.owner then c.owned_at else excluded.owned_at end,
            changed_at = clock_timestamp(), ended_at = excluded.ended_at
        where c.owner = excluded.owner and excluded.epoch in (c.epoch, 0)
            or excluded.epoch > c.epoch
            or excluded.epoch = 0 and c.owned_at < excluded.owned_at
        returning c.call_id, c.epoch
    )
    select w.call_id, w.epoch, case when n.epoch = 0 and w.epoch > 0 then
            pg_notify('audiosocket_fleet', 'call ' || w.call_id || ' ' || w.epoch || ' ' || %s::text)::text end
    from written w join new n using (call_id)
"""

#: Values: UUIDs of calls that a restart has left, this node.
CLAIM = """
    with asked as (select unnest(%s::uuid[]) call_id), claimed as (
        update public.audiosocket_calls c set epoch = c.epoch + 1
        from asked a where c.call_id = a.call_id and c.owner = %s and c.ended_at is null
        returning c.call_id, c.epoch
    )
    select c.call_id, k.epoch
    from asked join public.audiosocket_calls c using (call_id) left join claimed k using (call_id)
"""

#: Values: UUID, this node; UUID, visit, this node; UUID, visit.
AUTHORISE = """
    with own as (
        select where not exists (select from public.audiosocket_calls where call_id = %s and owner <> %s)
    ), claimed as (
        insert into public.audiosocket_gate (call_id, visit, node) select %s, %s, %s from own
        on conflict do nothing returning call_id
    )
    select exists (select from claimed), exists (select from own), g.node, g.opened, g.answer
    from (select) one left join public.audiosocket_gate g on g.call_id = %s and g.visit = %s
"""

#: Values: whether it opened, what was answered, UUID, visit, this node.
AUTHORISED = """
    update public.audiosocket_gate set opened = %s, answer = %s where call_id = %s and visit = %s and node = %s
"""

#: Values: UUID. Returns the node that has the call, or had it until it ended.
OWNER = "select owner from public.audiosocket_calls where call_id = %s"

#: Deletes calls that ended so long ago that no caller comes back, or whose node has not written them for a day.
CLEAN_CALLS = f"""{LEAD}
    delete from public.audiosocket_calls
    where (select held from lead) and (ended_at < clock_timestamp() - interval '10 minutes'
        or ended_at is null and changed_at < clock_timestamp() - interval '1 day')
"""  # noqa: S608
#: Deletes authorisations of visits that are over; run after `CLEAN_CALLS`.
CLEAN_GATE = f"""{LEAD}
    delete from public.audiosocket_gate g
    where (select held from lead) and at < clock_timestamp() - interval '1 day' and not exists (
        select from public.audiosocket_calls c where c.call_id = g.call_id and c.ended_at is null)
"""  # noqa: S608


@dataclass(frozen=True)
class Question:
    """A leg whose call this node does not know; ``port`` is that of a visitor's leg, -1 for a resident's."""

    call_id: UUID
    extension_id: int
    port: int = -1


@dataclass(frozen=True)
class Answer:
    """What the table has of a UUID.

    ``epoch`` is what a new call with it begins with. ``ended`` is how long ago its call has ended, in seconds.
    ``record`` is the line of a call that is this node's now, ``age`` how old that is in seconds, ``owner`` whose
    it was. ``foreign``: it is the call of another extension.
    """

    epoch: int = NOT_ASKED
    ended: float | None = None
    record: str = ""
    age: float = 0.0
    owner: str = ""
    foreign: bool = False


def asked_values(questions: Sequence[Question], node: str) -> list[object]:
    """Return the values of `LOOK_UP`."""
    return [
        [str(one.call_id) for one in questions],
        [one.extension_id for one in questions],
        [one.port for one in questions],
        node,
        node,
    ]


def answers(questions: Sequence[Question], rows: Sequence[Sequence[Any]]) -> dict[UUID, Answer]:
    """Return the answer to each question from the rows of `LOOK_UP`."""
    found = {one.call_id: Answer(1) for one in questions}
    for call_id, epoch, owner, ended, adopted, record, age, *_ in rows:
        if adopted is not None:
            answer = Answer(int(adopted), record=str(record), age=max(0.0, float(age)), owner=str(owner))
        elif ended is not None:
            answer = Answer(int(epoch) + 1, ended=max(0.0, float(ended)))
        else:
            answer = Answer(int(epoch), owner=str(owner), foreign=True)
        found[UUID(call_id)] = answer
    return found


def written_values(rows: Sequence[CallRow], now: float, node: str) -> list[object]:
    """Return the values of `WRITE`; ``now`` is in seconds since the epoch."""
    return [
        [str(row.call_id) for row in rows],
        [row.epoch for row in rows],
        [row.extension_id for row in rows],
        [row.port for row in rows],
        [row.record for row in rows],
        [max(0.0, now - row.began) for row in rows],
        node,
        node,
    ]
