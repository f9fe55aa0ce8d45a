-- The chain: every row of an append-only table is sealed once, in the order of commits. What was sealed is kept as it
-- was, so that a later edit, removal or insertion of a row shows, and names what changed.

create table ledger.chain (
    seq         bigint primary key,
    table_name  text not null,
    row_key     text not null,
    content     jsonb not null,
    hash        bytea not null,
    sealed_at   timestamptz not null default clock_timestamp(),
    unique (table_name, row_key)
);
comment on column ledger.chain.content is 'The facts of the row as they were inserted, without what may change later.';
comment on column ledger.chain.hash is
    'SHA-256 over the hash before (32 zero bytes for the first), then seq, table, key and content, each ended by a line feed.';

create table ledger.chain_head (
    only_row  boolean primary key default true check (only_row),
    seq       bigint not null,
    hash      bytea not null
);
comment on table ledger.chain_head is
    'The newest link. Its row is locked only while a transaction commits, so that it is the last lock everyone takes.';
insert into ledger.chain_head (seq, hash) values (0, decode(repeat('00', 32), 'hex'));

create trigger append_only before update or delete on ledger.chain
    for each row execute function ledger.refuse_change();

create table ledger.chained_tables (
    table_name  text primary key,
    key_column  text not null,
    changing    text[] not null
);
comment on table ledger.chained_tables is 'Which tables are sealed, by which key, and which of their columns may change later.';

-- The text of an instant in JSON depends on the time zone of the connection; a seal must not.
create function ledger.facts_of(whole jsonb, changing text[]) returns jsonb language sql immutable as $$
    select jsonb_strip_nulls(whole - changing)
$$;

create function ledger.append_link(name text, key text, facts jsonb) returns void language plpgsql as $$
declare
    head ledger.chain_head;
begin
    update ledger.chain_head
       set seq = seq + 1,
           hash = sha256(hash || convert_to(concat_ws(E'\n', seq + 1, name, key, facts, ''), 'UTF8'))
    returning * into head;
    insert into ledger.chain (seq, table_name, row_key, content, hash) values (head.seq, name, key, facts, head.hash);
end $$;

-- Arguments: the key column, then the columns that may change later.
create function ledger.seal() returns trigger language plpgsql set timezone = 'UTC' as $$
declare
    whole jsonb := to_jsonb(new);
begin
    perform ledger.append_link(tg_table_name, whole ->> tg_argv[0], ledger.facts_of(whole, tg_argv[1:]));
    return null;
end $$;

create function ledger.chain_table(name text, key_column text, variadic changing text[] default '{}') returns void
    language plpgsql set timezone = 'UTC' as $$
declare
    present jsonb;
begin
    insert into ledger.chained_tables values (name, key_column, changing);
    for present in execute format('select to_jsonb(t) from ledger.%I t order by t.%I', name, key_column) loop
        perform ledger.append_link(name, present ->> key_column, ledger.facts_of(present, changing));
    end loop;
    execute format(
        'create constraint trigger seal after insert on ledger.%I deferrable initially deferred '
        'for each row execute function ledger.seal(%s)',
        name, (select string_agg(quote_literal(one), ', ') from unnest(key_column || changing) one));
end $$;
comment on function ledger.chain_table is 'Seals what a table of the ledger holds, and every row it will get.';

select ledger.chain_table('order_events', 'id');
select ledger.chain_table('risk_decisions', 'id');
select ledger.chain_table('operator_actions', 'id');
select ledger.chain_table('fills', 'seq', 'posted', 'told_qty', 'position_after', 'average_after',
    'cost_after', 'realised');
select ledger.chain_table('superseded_fills', 'id');
select ledger.chain_table('limit_changes', 'id');
select ledger.chain_table('absences', 'id');
