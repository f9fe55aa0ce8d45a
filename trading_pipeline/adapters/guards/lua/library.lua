local format, max, min, floor, ceil, unpack = string.format, math.max, math.min, math.floor, math.ceil, unpack
