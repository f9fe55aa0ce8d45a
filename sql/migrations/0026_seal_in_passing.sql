-- The head is written twice a transaction and not once a row: each write left a version that the next one had to pass
-- over. Between the two the newest link of the transaction is remembered in a setting that ends, or rolls back, with it.

create function ledger.take_head() returns ledger.chain_head
    language sql volatile set enable_seqscan = off as $$
    select * from ledger.chain_head where only_row for update
$$;
comment on function ledger.take_head is 'Locks the newest link until the transaction ends. Found by its key: its past versions fill pages.';

create function ledger.put_head(newest bigint, newest_hash bytea) returns void
    language sql volatile set enable_seqscan = off as $$
    update ledger.chain_head set seq = newest, hash = newest_hash where only_row
$$;

create or replace function ledger.seal() returns trigger language plpgsql as $$
declare
    sealed text := current_setting('ledger.sealed', true);
    whole jsonb;
    facts jsonb;
    before ledger.chain_head;
    link bytea;
begin
    -- The text of an instant in JSON depends on it. It stays for the rest of the transaction, which is ending.
    if current_setting('timezone') <> 'UTC' then
        perform set_config('timezone', 'UTC', true);
    end if;
    whole := to_jsonb(new);
    facts := ledger.facts_of(whole, tg_argv[1:]);
    if sealed <> '' then
        before.seq := split_part(sealed, ' ', 1);
        before.hash := decode(split_part(sealed, ' ', 2), 'hex');
    else
        before := ledger.take_head();
    end if;
    link := sha256(before.hash || convert_to(
        concat_ws(E'\n', before.seq + 1, tg_table_name, whole ->> tg_argv[0], facts, ''), 'UTF8'));
    insert into ledger.chain (seq, table_name, row_key, content, hash)
    values (before.seq + 1, tg_table_name, whole ->> tg_argv[0], facts, link);
    perform set_config('ledger.sealed', (before.seq + 1) || ' ' || encode(link, 'hex'), true);
    if sealed is null or sealed = '' then
        perform ledger.put_head(before.seq + 1, link);
    end if;
    return null;
end $$;

-- The write for the first row defers this trigger anew, so it runs after the seals of all rows deferred by then. Where
-- constraints are immediate it runs at once, and each row takes and writes the head by itself.
create function ledger.finish_head() returns trigger language plpgsql as $$
declare
    sealed text := current_setting('ledger.sealed', true);
begin
    if sealed <> '' then
        perform set_config('ledger.sealed', '', true);
        if split_part(sealed, ' ', 1)::bigint <> new.seq then
            perform ledger.put_head(split_part(sealed, ' ', 1)::bigint, decode(split_part(sealed, ' ', 2), 'hex'));
        end if;
    end if;
    return null;
end $$;

create constraint trigger finish after update on ledger.chain_head deferrable initially deferred
    for each row execute function ledger.finish_head();
