"""The words of which sources are made; the generator replaces them. A source imported as it is has float64."""

import numpy as np

SINGLE: bool = False
"""Whether the precision is float32: known when a module is made, so that only one side of a condition is left."""

f32, f64 = np.float32, np.float64
i32, i64, u64 = np.int32, np.int64, np.uint64
real, integer = f64, i64
