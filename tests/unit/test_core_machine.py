"""What a process may use: the machine's, or its control group's."""

import os
from pathlib import Path

from maintenance.core.machine import MemoryRoom, cpu_count, group_rooms, memory_bytes

GB = 1024**3


def machine(root: Path, group: str, files: dict[str, str]) -> Path:
    (root / "proc/7").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: {8 * GB // 1024} kB\n")
    (root / "proc/7/cgroup").write_text(group)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_limit_of_a_group_above_counts(tmp_path):
    root = machine(
        tmp_path,
        "0::/site/web\n",
        {
            "sys/fs/cgroup/site/web/memory.max": "max\n",
            "sys/fs/cgroup/site/memory.max": f"{2 * GB}\n",
            "sys/fs/cgroup/site/cpu.max": "50000 100000\n",
        },
    )
    assert memory_bytes(7, root) == 2 * GB
    assert cpu_count(7, root) == 1


def test_no_limit_is_the_machine(tmp_path):
    root = machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert memory_bytes(7, root) == 8 * GB
    assert cpu_count(7, root) == os.cpu_count()


def test_groups_of_the_first_version_count(tmp_path):
    root = machine(
        tmp_path,
        "3:cpu,cpuacct:/a\n4:memory:/a\n",
        {
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": f"{GB}\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
    )
    assert memory_bytes(7, root) == GB
    assert cpu_count(7, root) == 1


def test_what_a_limit_leaves_counts_idle_cache_as_left(tmp_path):
    root = machine(
        tmp_path,
        "0::/site/web\n",
        {
            "sys/fs/cgroup/site/web/memory.max": "max\n",
            "sys/fs/cgroup/site/web/memory.current": f"{GB}\n",
            "sys/fs/cgroup/site/memory.max": f"{2 * GB}\n",
            "sys/fs/cgroup/site/memory.current": f"{GB}\n",
            "sys/fs/cgroup/site/memory.stat": f"anon 7\ninactive_file {GB // 2}\n",
        },
    )
    assert list(group_rooms(7, root)) == [MemoryRoom(2 * GB, 3 * GB // 2)]
    assert list(group_rooms(8, root)) == []


def test_what_a_limit_of_the_first_version_leaves_is_known_inside_of_its_container(tmp_path):
    # The path is the machine's, and what is mounted begins at the container's own group.
    root = machine(
        tmp_path,
        "4:memory:/docker/3f2a\n",
        {
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{2 * GB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {GB // 2}\n",
        },
    )
    assert list(group_rooms(7, root)) == [MemoryRoom(GB, 0)]
