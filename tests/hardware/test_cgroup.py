"""Container limits, read from files as real kernels write them."""

from pathlib import Path

import pytest

from trimtab.hardware.cgroup import cpu_quota, memory_limit, smallest_memory_limit, whole_cpus
from trimtab.hardware.cpu import allowed_cores
from trimtab.hardware.detect import container, host_memory
from trimtab.units import GIB, MIB


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_v2_in_a_container_sees_its_own_group_as_root(tmp_path: Path) -> None:
    """docker run --cpus 1.5 --memory 4g: /proc/self/cgroup says "0::/" and the limits lie at the mount."""
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{1536 * MIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon {900 * MIB}\nfile {600 * MIB}\ninactive_file {512 * MIB}\n",
        },
    )
    assert cpu_quota(root) == 1.5
    limit = memory_limit(root)
    assert limit is not None
    assert limit.limit_bytes == 4 * GIB
    assert limit.free_bytes == 3 * GIB  # page cache is given back on demand
    assert host_memory(root).total_bytes == 4 * GIB
    assert allowed_cores(root) == 1


def test_v2_on_a_host_takes_the_tightest_level_of_the_path(tmp_path: Path) -> None:
    slice_, scope = "sys/fs/cgroup/user.slice", "sys/fs/cgroup/user.slice/run.scope"
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice/run.scope\n",
            f"{slice_}/memory.max": f"{6 * GIB}\n",
            f"{slice_}/memory.current": f"{5 * GIB}\n",
            f"{slice_}/cpu.max": "400000 100000\n",
            f"{scope}/memory.max": f"{3 * GIB}\n",
            f"{scope}/memory.current": f"{1 * GIB}\n",
            f"{scope}/cpu.max": "max 100000\n",
        },
    )
    assert cpu_quota(root) == 4.0
    assert smallest_memory_limit(root) == 3 * GIB
    limit = memory_limit(root)
    assert limit is not None and limit.free_bytes == 1 * GIB  # the parent is nearly full


def test_v1_with_joint_controllers_and_the_hosts_path(tmp_path: Path) -> None:
    """docker on cgroup v1: the path named is the host's and is not there; the mount itself has the limits."""
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/0f3a\n2:cpu,cpuacct:/docker/0f3a\n1:name=systemd:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{700 * MIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {200 * MIB}\n",
        },
    )
    assert cpu_quota(root) == 2.5
    limit = memory_limit(root)
    assert limit is not None and limit.used_bytes == 500 * MIB


@pytest.mark.parametrize(
    "files",
    [
        {},
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "sys/fs/cgroup/memory.max": "max\n",
        },
        {
            "proc/self/cgroup": "4:memory:/\n2:cpu:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        {"proc/self/cgroup": "damaged\n\n0::", "sys/fs/cgroup/memory.max": "not a number\n"},
    ],
    ids=["no-cgroups", "v2-unlimited", "v1-unlimited", "damaged"],
)
def test_no_limit_is_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    root = write(tmp_path, files)
    assert cpu_quota(root) is None
    assert memory_limit(root) is None


def test_half_a_cpu_still_runs_one_thread() -> None:
    assert [whole_cpus(quota) for quota in (0.5, 1.0, 1.9, 8.0)] == [1, 1, 1, 8]


def test_the_kind_of_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert container(tmp_path) == ""
    write(tmp_path, {"run/systemd/container": "lxc\n"})
    assert container(tmp_path) == "lxc"
    write(tmp_path, {".dockerenv": ""})
    assert container(tmp_path) == "docker"
