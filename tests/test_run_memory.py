"""What memory is free, as the kernel tells it."""

from pathlib import Path

from combo_common.memory import free_memory

MIB = 1 << 20


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 4096 kB\nMemAvailable: 2048000 kB\n")
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    unlimited = {"memory.max": "max", "memory.current": "5", "memory.stat": "inactive_file 0"}
    assert free_memory(machine(tmp_path, "0::/\n", unlimited)) == 2048000 * 1024


def test_the_narrowest_group_counts_and_what_files_have_in_memory_is_free(tmp_path: Path) -> None:
    files = {}
    for folder, limit, used, cached in (("", 1900, 800, 100), ("job/", 1500, 700, 600), ("job/step/", 1800, 700, 600)):
        files |= {
            f"{folder}memory.max": str(limit * MIB),
            f"{folder}memory.current": str(used * MIB),
            f"{folder}memory.stat": f"anon 7\ninactive_file {cached * MIB}\n",
        }
    assert free_memory(machine(tmp_path, "0::/job/step\n", files)) == 1200 * MIB


def test_groups_of_the_first_version_count_too(tmp_path: Path) -> None:
    files = {
        "memory/job/memory.limit_in_bytes": str(900 * MIB),
        "memory/job/memory.usage_in_bytes": str(300 * MIB),
        "memory/job/memory.stat": f"total_inactive_file {100 * MIB}\n",
    }
    assert free_memory(machine(tmp_path, "9:name=systemd:/\n4:memory:/job\n0::/\n", files)) == 700 * MIB
