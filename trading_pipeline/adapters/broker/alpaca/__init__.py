"""An Alpaca account as a broker: orders sent once, answers mapped once, the right account checked before anything."""
