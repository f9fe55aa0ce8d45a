"""What belongs together is found by an index: a ledger of years must answer as one of a day."""

import psycopg

from trading_pipeline.adapters.store.ledger import migrate

_UNINDEXED = """
select c.conrelid::regclass || ' (' || array_to_string(referring.columns, ', ') || ')' as reference
  from pg_constraint c cross join lateral (
           select array_agg(a.attname::text order by a.attname) as columns from pg_attribute a
            where a.attrelid = c.conrelid and a.attnum = any(c.conkey)
       ) referring
 where c.contype = 'f' and not exists (
           select from pg_index i where i.indrelid = c.conrelid
              and (i.indkey::int2[])[0:cardinality(c.conkey) - 1] operator(pg_catalog.@>) c.conkey
              and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) like '(% IS NOT NULL)')
       )
 order by reference
"""


def test_rows_that_belong_to_another_are_found_by_an_index(database_url: str) -> None:
    """An order's fills, executions, events and replacements are not looked for among all there are."""
    migrate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert [] == connection.execute(_UNINDEXED).fetchall()
        connection.execute("drop index ledger.fills_by_order, exchange.executions_by_order")

        missing = connection.execute(_UNINDEXED).fetchall()

    assert [("exchange.executions (client_order_id)",), ("ledger.fills (client_order_id)",)] == missing
