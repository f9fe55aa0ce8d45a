-- What corporate actions added to the shares at the simulated exchange, where nobody else books them.

create table exchange.restatements (
    account    text not null,
    action_id  text not null,
    symbol     text not null,
    qty        numeric not null,
    at         timestamptz not null default clock_timestamp(),
    primary key (account, action_id, symbol)
);
comment on column exchange.restatements.qty is 'Signed shares added by the action.';
