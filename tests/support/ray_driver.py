"""A driver of its own for tests that end it: `python -m tests.support.ray_driver ROOT [MODE]`.

Runs the fake world in ROOT on a Ray that it starts itself, or goes on with what is there. MODE `slow` makes every
run of a solution take a while, `print` prints what the modules on stdout would.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cluster.backend import RayBackend
from gome.commands.terminal import stoppable
from gome.loop.execute import execute
from tests.support.fake_world import FakeLlms, Faults, fake_agent, fake_config, fake_run


def main(root: Path, slow: float = 0.0) -> int:
    """Carry out or resume one run; the exit code of the signal that stopped it, else 0."""
    faults = Faults(slow=slow)
    with stoppable() as (stop, keep):
        try:
            llm = FakeLlms(root.parent / "calls")
            agent = fake_agent(faults, llm=True)
            run = fake_run(root, fake_config(12), faults=faults, agent=agent, llm=llm, child=True)
            if run.state.experiments:
                run.resume()
            run.observers.append(keep)
            execute(run, RayBackend(num_cpus=2))
        except KeyboardInterrupt:
            return stop.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *(float(word) for word in sys.argv[2:])))
