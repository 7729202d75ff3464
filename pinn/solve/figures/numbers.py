"""How small and large numbers are written in captions and tables: 1.62e-8, 0.0123, 14.8."""

from __future__ import annotations

import math


def digits(value: float | None) -> str:
    """Three significant digits; a power of ten below 0.001 and from 100,000 on; a dash where there is no value."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number"
    sign = "−" if value < 0 else ""
    size = abs(value)
    if size == 0:
        return "0"
    # the exponent after rounding: 9.999e-4 is 0.00100
    mantissa, exponent = f"{size:.2e}".split("e")
    power = int(exponent)
    if -3 <= power < 5:
        return f"{sign}{float(f'{size:.2e}'):.{max(0, 2 - power)}f}"
    return f"{sign}{mantissa}e{power}"
