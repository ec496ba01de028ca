"""What hardware one run may use."""

from __future__ import annotations

from dojo.model import Frozen

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
)


class Slot(Frozen):
    """A share of one node, given to one run at a time.

    `cuda_visible_devices` is empty on a CPU slot. A child process gets `env()`, never inherited devices.
    """

    id: str = "cpu-0"
    cpus: float = 1.0
    memory_mb: int = 4096
    cuda_visible_devices: str = ""

    @classmethod
    def cpu(cls, index: int = 0, *, cpus: float = 1.0, memory_mb: int = 4096) -> Slot:
        """A CPU-only slot."""
        return cls(id=f"cpu-{index}", cpus=cpus, memory_mb=memory_mb)

    @property
    def threads(self) -> int:
        """Threads a run may start for numeric work: whole CPUs, at least one."""
        return max(1, int(self.cpus))

    def env(self) -> dict[str, str]:
        """Environment variables that keep a child inside the slot."""
        threads = str(self.threads)
        return {
            "CUDA_VISIBLE_DEVICES": self.cuda_visible_devices,
            "OMP_WAIT_POLICY": "PASSIVE",
            **dict.fromkeys(THREAD_VARIABLES, threads),
        }
