-- The table of AI extensions and the triggers that announce its changes.
-- May be run any number of times: what exists stays, no row is touched.

create table if not exists public.extension_ia
(
    extension_ia_id          integer generated always as identity,
    extension_ia_number      char(50) not null,
    extension_ia_return      char(50) not null,
    extension_ia_ip          char(50) not null,
    extension_ia_number_port char(50) not null,
    condominium_id           integer  not null,
    extension_ia_return_port char(50)
);

-- Announces {"action": "INSERT|UPDATE|DELETE", "data": {row}}. The row is a hint, so a payload too long for
-- NOTIFY (8000 bytes: somebody added columns) is cut down to the id instead of failing the change.
create or replace function public.notify_extension_ia_changes() returns trigger
    language plpgsql
    set search_path = pg_catalog
as
$$
declare
    changed public.extension_ia;
    payload text;
begin
    if tg_op = 'DELETE' then
        changed := old;
    else
        changed := new;
    end if;
    payload := json_build_object('action', tg_op, 'data', row_to_json(changed))::text;
    if octet_length(payload) >= 8000 then
        payload := json_build_object('action', tg_op,
                                     'data', json_build_object('extension_ia_id', changed.extension_ia_id))::text;
    end if;
    perform pg_notify('change_record_extension_ia', payload);
    return null;
end;
$$;

drop trigger if exists extension_ia_insert_trigger on public.extension_ia;
create trigger extension_ia_insert_trigger
    after insert on public.extension_ia
    for each row execute procedure public.notify_extension_ia_changes();

drop trigger if exists extension_ia_update_trigger on public.extension_ia;
create trigger extension_ia_update_trigger
    after update on public.extension_ia
    for each row execute procedure public.notify_extension_ia_changes();

drop trigger if exists extension_ia_delete_trigger on public.extension_ia;
create trigger extension_ia_delete_trigger
    after delete on public.extension_ia
    for each row execute procedure public.notify_extension_ia_changes();
