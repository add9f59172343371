"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["closeness", "counted", "milliseconds", "percent", "sized"]


def closeness(value: float, digits: int = 3) -> str:
    """A cosine or a share; what is not quite 1 is not rounded up to it.

    Example:
        >>> from headsmith.report.numbers import closeness
        >>> closeness(0.9413), closeness(0.99996), closeness(1.0)
        ('0.941', 'above 0.999', '1.000')
    """
    rounded = f"{value:.{digits}f}"
    nearly = 1 - 10**-digits
    return f"above {nearly:.{digits}f}" if nearly < value < 1 and float(rounded) == 1 else rounded


def counted(number: float) -> str:
    """A count with three figures and a suffix.

    Example:
        >>> from headsmith.report.numbers import counted
        >>> counted(22_713_216), counted(590_976), counted(12)
        ('22.7M', '591k', '12')
    """
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit * 0.9995:
            return f"{_three(number / limit)}{suffix}"
    return f"{number:.0f}"


def sized(number: float) -> str:
    """A size in bytes, as file managers write it.

    Example:
        >>> from headsmith.report.numbers import sized
        >>> sized(90_852_864)
        '90.9 MB'
    """
    for limit, suffix in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(number) >= limit * 0.9995:
            return f"{_three(number / limit)} {suffix}"
    return f"{number:.0f} bytes"


def percent(fraction: float) -> str:
    """A fraction as a percentage, with one decimal below ten.

    Example:
        >>> from headsmith.report.numbers import percent
        >>> percent(0.5), percent(0.0312)
        ('50%', '3.1%')
    """
    value = fraction * 100
    return f"{value:.1f}%" if 0 < abs(value) < 9.95 else f"{value:.0f}%"


def milliseconds(value: float) -> str:
    """A duration given in milliseconds, with three figures.

    Example:
        >>> from headsmith.report.numbers import milliseconds
        >>> milliseconds(12.345), milliseconds(1234.5)
        ('12.3 ms', '1.23 s')
    """
    return f"{_three(value / 1000)} s" if value >= 999.5 else f"{_three(value)} ms"


def _three(value: float) -> str:
    size = abs(value)
    if size >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
