-- A seal in one function, and the time zone set only where it is another: setting it for each row cost as much as the seal.

create or replace function ledger.seal() returns trigger language plpgsql set enable_seqscan = off as $$
declare
    whole jsonb;
    facts jsonb;
    head ledger.chain_head;
begin
    -- The text of an instant in JSON depends on it. It stays for the rest of the transaction, which is ending.
    if current_setting('timezone') <> 'UTC' then
        perform set_config('timezone', 'UTC', true);
    end if;
    whole := to_jsonb(new);
    facts := ledger.facts_of(whole, tg_argv[1:]);
    update ledger.chain_head
       set seq = seq + 1,
           hash = sha256(hash || convert_to(
               concat_ws(E'\n', seq + 1, tg_table_name, whole ->> tg_argv[0], facts, ''), 'UTF8'))
     where only_row
    returning * into head;
    insert into ledger.chain (seq, table_name, row_key, content, hash)
    values (head.seq, tg_table_name, whole ->> tg_argv[0], facts, head.hash);
    return null;
end $$;
