"""Limits in the words of the command line, of cgroup files and of systemd units. Pure."""

from __future__ import annotations

from rootless.errors import KernelError
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.systemd_bus import Value

_SYSTEMD_UNLIMITED = (1 << 64) - 1
_CPU_PERIOD_US = 100_000
_UNIT_SIZES = {
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "memory.low": "MemoryLow",
    "pids.max": "TasksMax",
}


class Limits(Record):
    """What was asked for; 0 and "" mean not at all, -1 means explicitly no limit. Sizes in bytes."""

    memory: int = 0
    memory_swap: int = 0  # memory and swap together, as in Docker and Podman
    memory_reservation: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0  # 2 to 262144, the default is 1024
    cpuset_cpus: str = ""
    pids_limit: int = 0


class Setting(Record):
    """One limit in the words of the kernel. `explicit`: the user asked; else it only follows from another."""

    option: str  # --memory
    controller: str
    file: str  # memory.max
    value: str
    explicit: bool = True


def settings(limits: Limits) -> list[Setting]:
    """Return limits as values of cgroup files. Raises KernelError for combinations without a meaning."""
    result = []
    if limits.memory:
        result.append(Setting("--memory", "memory", "memory.max", _or_max(limits.memory)))
    if limits.memory_swap > 0 and not limits.memory > 0:
        raise KernelError("--memory-swap needs --memory: it limits memory and swap together")
    if 0 < limits.memory_swap < limits.memory:
        raise KernelError("--memory-swap is less than --memory: it limits memory and swap together")
    if limits.memory_swap > 0:
        swap = str(limits.memory_swap - limits.memory)
        result.append(Setting("--memory-swap", "memory", "memory.swap.max", swap))
    elif limits.memory_swap < 0:
        result.append(Setting("--memory-swap", "memory", "memory.swap.max", "max"))
    elif limits.memory > 0:  # as in Docker and Podman: as much swap as memory
        result.append(Setting("--memory-swap", "memory", "memory.swap.max", str(limits.memory), explicit=False))
    if limits.memory_reservation > 0:
        result.append(Setting("--memory-reservation", "memory", "memory.low", str(limits.memory_reservation)))
    if limits.cpus > 0:
        result.append(Setting("--cpus", "cpu", "cpu.max", f"{_quota_us(limits)} {_CPU_PERIOD_US}"))
    if limits.cpu_shares:
        result.append(Setting("--cpu-shares", "cpu", "cpu.weight", str(_weight(limits))))
    if limits.cpuset_cpus:
        parse_cpus(limits.cpuset_cpus)
        result.append(Setting("--cpuset-cpus", "cpuset", "cpuset.cpus", limits.cpuset_cpus))
    if limits.pids_limit:
        result.append(Setting("--pids-limit", "pids", "pids.max", _or_max(limits.pids_limit)))
    return result


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def _quota_us(limits: Limits) -> int:
    return max(1000, round(limits.cpus * _CPU_PERIOD_US))  # the kernel wants a millisecond


def _weight(limits: Limits) -> int:
    """Convert shares (2 to 262144) to a weight (1 to 10000), as systemd, runc and crun do."""
    shares = min(max(limits.cpu_shares, 2), 262144)
    return 1 + (shares - 2) * 9999 // 262142


def parse_cpus(text: str) -> list[int]:
    """Return the numbers in a list like 0-3,8. Raises KernelError."""
    numbers: set[int] = set()
    for part in text[:4096].split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (
            f"{first}{last}".isascii() and first.isdecimal() and last.isdecimal() and int(first) <= int(last) < 8192
        ):
            raise KernelError(f"not a list of CPUs: {text[:60]!r}", hint="write it as 0-3,8")
        numbers.update(range(int(first), int(last) + 1))
    return sorted(numbers)


def unit_properties(limits: Limits) -> list[tuple[str, Value]]:
    """Return limits as properties of a systemd unit (systemd.resource-control(5))."""
    properties: list[tuple[str, Value]] = []
    for setting in settings(limits):
        if setting.file in _UNIT_SIZES:
            size = _SYSTEMD_UNLIMITED if setting.value == "max" else int(setting.value)
            properties.append((_UNIT_SIZES[setting.file], ("t", size)))
        elif setting.file == "cpu.max":
            properties.append(("CPUQuotaPerSecUSec", ("t", _quota_us(limits) * 1_000_000 // _CPU_PERIOD_US)))
        elif setting.file == "cpu.weight":
            properties.append(("CPUWeight", ("t", int(setting.value))))
        else:
            mask = sum(1 << number for number in parse_cpus(setting.value))
            properties.append(("AllowedCPUs", ("ay", mask.to_bytes((mask.bit_length() + 7) // 8, "little"))))
    return properties
