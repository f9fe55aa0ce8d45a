-- An order that is recorded already is offered again by every retry, and then not inserted: it is no further child.

create or replace function ledger.check_child() returns trigger language plpgsql as $$
declare
    parent ledger.parents;
    before numeric;
begin
    if exists (select from ledger.orders o where o.client_order_id = new.client_order_id) then
        return new;
    end if;
    select * into parent from ledger.parents p where p.parent_id = new.parent_id for update;
    if (new.account, new.strategy_id, new.symbol, new.side, new.trade_session)
       is distinct from (parent.account, parent.strategy_id, parent.symbol, parent.side, parent.trade_session) then
        raise exception 'order % is not of the account, strategy, symbol, side and session of its parent %',
            new.client_order_id, new.parent_id using errcode = 'check_violation';
    end if;
    if exists (select from ledger.parent_cancellations c where c.parent_id = new.parent_id) then
        raise exception 'parent % was cancelled: no order is made of its slices', new.parent_id
            using errcode = 'check_violation';
    end if;
    if not exists (select from ledger.slice_events e
                    where (e.parent_id, e.number, e.kind) = (new.parent_id, new.repeat, 'ordered')
                      and (e.client_order_id, e.qty) = (new.client_order_id, new.qty)) then
        raise exception 'slice % of parent % was not decided to become order %',
            new.repeat, new.parent_id, new.client_order_id using errcode = 'check_violation';
    end if;
    select coalesce(sum(o.qty), 0) into before from ledger.orders o where o.parent_id = new.parent_id;
    if before + new.qty > parent.qty - parent.unplanned then
        raise exception 'parent % has % shares: orders over % and % more would exceed them',
            new.parent_id, parent.qty - parent.unplanned, before, new.qty using errcode = 'check_violation';
    end if;
    return new;
end $$;
