-- Each sealed row changes the one row of the head. The versions before it stay behind until a vacuum, page after page,
-- and reading all pages for each row made a transaction of many rows ever slower. By its key the newest is found at once.

create or replace function ledger.append_link(name text, key text, facts jsonb) returns void
    language plpgsql set enable_seqscan = off as $$
declare
    head ledger.chain_head;
begin
    update ledger.chain_head
       set seq = seq + 1,
           hash = sha256(hash || convert_to(concat_ws(E'\n', seq + 1, name, key, facts, ''), 'UTF8'))
     where only_row
    returning * into head;
    insert into ledger.chain (seq, table_name, row_key, content, hash) values (head.seq, name, key, facts, head.hash);
end $$;
