"""How quantities are printed, once for the whole house. Parsing them is in `trimtab.units`."""

import math

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def format_bytes(count: float) -> str:
    """Bytes in binary units, three significant digits: 23068672 -> "22.0 MiB"."""
    value = float(count)
    for unit in _BYTE_UNITS:
        if abs(value) < 1023.5 or unit == _BYTE_UNITS[-1]:
            break
        value /= 1024
    if unit == "B":
        return f"{value:.0f} B"
    return f"{value:.0f} {unit}" if abs(value) >= 99.95 else f"{value:.1f} {unit}"


def format_seconds(seconds: float) -> str:
    """A duration as people say it: 0.0123 -> "12 ms", 75 -> "1 min 15 s", 7500 -> "2 h 5 min"."""
    if not math.isfinite(seconds):
        return str(seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{minutes / 1440:.1f} d"


def format_count(count: float) -> str:
    """A count with separators: 6911 -> "6,911"."""
    return f"{count:,.0f}"


def format_share(share: float) -> str:
    """A share of one as percent: 0.125 -> "12.5 %", 0.00034 -> "0.034 %", less than 0.001 % -> "<0.001 %"."""
    percent = share * 100
    if 0 < percent < 0.001:
        return "<0.001 %"
    if percent == 0 or abs(percent) >= 9.995:
        return f"{percent:.1f} %"
    return f"{percent:.2g} %" if abs(percent) < 1 else f"{percent:.2f} %"


def format_money(amount: float, currency: str) -> str:
    """Money: 1234.5 -> "1,234 CNY", 12.3 -> "12.30 CNY"; two digits below 1: 0.0342 -> "0.034 CNY"."""
    size = abs(amount)
    if not math.isfinite(size) or size >= 99.995:
        return f"{amount:,.0f} {currency}"
    if size == 0 or size >= 0.995:
        return f"{amount:.2f} {currency}"
    digits = 1 - math.floor(math.log10(float(f"{size:.2g}")))
    return f"{amount:.{digits}f} {currency}"
