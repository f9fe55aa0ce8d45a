-- `of` * `bps` / 10000, rounded down, without leaving the exact numbers.
local rest = of % 10000 * bps / 10000
local most = (of - of % 10000) / 10000 * bps + rest - rest % 1
