-- Who may send an order, and what was looked for in vain.

alter table ledger.orders add column fence bigint not null default 1 check (fence > 0);
comment on column ledger.orders.fence is
    'Raised by whoever takes the order up: only the process that took it up last may send it.';

create table ledger.absences (
    id               bigint generated always as identity primary key,
    client_order_id  text not null references ledger.orders,
    fence            bigint not null,
    at               timestamptz not null default clock_timestamp()
);
comment on table ledger.absences is
    'Looked up at the broker and not there. Two of one fence, a grace time apart, end an order; one never does.';
create index absences_by_order on ledger.absences (client_order_id, fence, at);
create trigger append_only before update or delete on ledger.absences
    for each row execute function ledger.refuse_change();

-- What a process learns when it looks at an order for the last time before it sends it. The row is locked first, by
-- whoever took the order up last and by nobody else; what follows is read under that lock, so it is as new as the lock.
create function ledger.last_check(wanted_id text, wanted_fence bigint)
    returns table (fence bigint, state text, epoch bigint, kill_switch text) language plpgsql volatile as $$
begin
    perform from ledger.orders o where o.client_order_id = wanted_id and o.fence = wanted_fence for update;
    return query
        select o.fence, o.state, b.epoch, b.kill_switch
          from ledger.orders o left join ledger.books b on b.account = o.account
         where o.client_order_id = wanted_id;
end $$;
