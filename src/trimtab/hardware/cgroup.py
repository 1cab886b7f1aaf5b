"""What a Linux container may use: CPU quota and memory limit of cgroup v1, v2 and hybrids of the two.

Every function takes the root under which proc/ and sys/ lie, "/" on a real machine. A limit may stand on any
level of the hierarchy, so the whole path up to the root counts and the tightest wins. A container usually
sees its own group mounted as the root, while /proc/self/cgroup still names the host's path: a level that is
not there is passed over.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60  # v1 writes "no limit" as 2^63 less a page


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The tightest memory limit and what is already used under it, in bytes. Page cache that the kernel gives
    back on demand (inactive_file) is not counted as used."""

    limit_bytes: int
    used_bytes: int

    @property
    def free_bytes(self) -> int:
        return max(0, self.limit_bytes - self.used_bytes)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs a second of wall clock that the quota allows (1.5 = one and a half), None without one."""
    quotas = [quota for folder in _levels(root, "cpu") if (quota := _quota_at(folder)) is not None]
    return min(quotas, default=None)


def whole_cpus(quota: float) -> int:
    """Threads worth starting under a quota: 1.5 CPUs keep one thread busy, and never fewer than one."""
    return max(1, math.floor(quota))


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The level that leaves the least memory free, None where nothing limits it."""
    limits = [limit for folder in _levels(root, "memory") if (limit := _memory_at(folder)) is not None]
    return min(limits, key=lambda limit: limit.free_bytes, default=None)


def smallest_memory_limit(root: Path = Path("/")) -> int | None:
    """The smallest limit in bytes on the way up, however much of it is used."""
    limits = [limit.limit_bytes for folder in _levels(root, "memory") if (limit := _memory_at(folder))]
    return min(limits, default=None)


def _levels(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process' group and its parents, v1 (sys/fs/cgroup/<controller>) and v2 alike."""
    base = root / "sys/fs/cgroup"
    for controllers, path in _own_groups(root):
        if controllers and controller not in controllers:
            continue
        mounts = [base, base / "unified"]
        if controllers:
            mounts = [base / controller, base / ",".join(controllers)]
        parts = [part for part in path.strip("/").split("/") if part not in ("", "..")]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                yield mount.joinpath(*parts[:depth])


def _own_groups(root: Path) -> list[tuple[tuple[str, ...], str]]:
    """(controllers, path) of each line of /proc/self/cgroup; v2's line ("0::/path") has no controllers."""
    groups = []
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        groups.append((tuple(name for name in names.split(",") if name), path))
    return groups


def _quota_at(folder: Path) -> float | None:
    words = (_text(folder / "cpu.max") or "").split()
    if len(words) == 2 and words[0] != "max":
        return int(words[0]) / int(words[1])
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def _memory_at(folder: Path) -> MemoryLimit | None:
    limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
    if limit is None or limit >= _UNLIMITED_BYTES:
        return None
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
    return MemoryLimit(limit, max(0, used - _reclaimable(folder)))


def _reclaimable(folder: Path) -> int:
    """inactive_file in v2; v1 counts a group's children under total_inactive_file."""
    lines = (_text(folder / "memory.stat") or "").splitlines()
    values = {words[0]: int(words[1]) for line in lines if len(words := line.split()) == 2}
    return values.get("total_inactive_file", values.get("inactive_file", 0))


def _number(path: Path) -> int | None:
    """A whole number in a file, None where it is absent, unreadable or says "max"."""
    try:
        return int(_text(path) or "")
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
