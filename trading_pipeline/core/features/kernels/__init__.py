"""Loops over the rows of symbols, compiled to machine code on first use; numbers in, numbers out, no files, no frames.

Kernels of operators share one signature, so that a plan can call any of them:

    kernel(registers, inputs, outputs, statistics, windows, numbers, ladder, bounds, scratch)

`registers` is float64[register, row]; `inputs` and `outputs` name rows of it. Answer `i` is `statistics[i]` over a
window described by `windows[i]` (and `numbers[i]`), written to register `outputs[i]`. `bounds` cuts the rows into
symbols, sorted by session. `ladder` lists the lengths from which windows are put together, see `ladder.py`; `scratch`
is room to work in, see `table.py`. A missing value is NaN; infinities count as missing inside windows, as in pandas.
The answer of a row depends on the rows of its window alone, to the bit: no running sum carries anything over from rows
that have left.
"""
