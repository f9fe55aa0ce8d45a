-- A cancellation that was asked for holds: whoever takes the order up later, or is about to send it, sees that.

alter table ledger.orders add column cancel_requested_at timestamptz;
comment on column ledger.orders.cancel_requested_at is
    'When its cancellation was asked for while it was live; from then on nobody sends it. Null: never.';

drop function ledger.last_check(text, bigint);
create function ledger.last_check(wanted_id text, wanted_fence bigint)
    returns table (fence bigint, state text, epoch bigint, kill_switch text, cancel_requested_at timestamptz)
    language plpgsql volatile as $$
begin
    perform from ledger.orders o where o.client_order_id = wanted_id and o.fence = wanted_fence for update;
    return query
        select o.fence, o.state, b.epoch, b.kill_switch, o.cancel_requested_at
          from ledger.orders o left join ledger.books b on b.account = o.account
         where o.client_order_id = wanted_id;
end $$;
