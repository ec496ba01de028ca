"""SHARE: what of an experiment goes into the shared memory."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dojo.environment import Observation
from gome.loop.experiment import Experiment
from gome.loop.memory import MemoryEntry

MAX_EDIT_BYTES = 4096
MAX_FEATURES = 48


def entry_of(
    experiment: Experiment, parent: Experiment | None, profile: Sequence[Observation], p: float
) -> MemoryEntry | None:
    """The memory entry of a committed experiment, or None when it teaches nothing.

    A success is a child that beat its parent (a draft: the baseline) with probability at least `p`. Everything
    else the solution is to blame for is a failure with its cause. Trouble of the infrastructure teaches nothing.
    """
    comparison, failure, proposal = experiment.comparison, experiment.feedback.failure, experiment.proposal
    if proposal.component == "none" or (failure and failure.boundary == "infra"):
        return None
    success = experiment.status == "accepted" and comparison is not None and comparison.p_better >= p
    if experiment.status == "accepted" and not success:
        return None
    edit = proposal.edit if len(json.dumps(proposal.edit)) <= MAX_EDIT_BYTES else {}
    outcome = f"{comparison.delta:+.4g} ± {comparison.se:.2g}" if comparison else experiment.lesson
    return MemoryEntry(
        id=experiment.id,
        trace=experiment.trace,
        kind="success" if success else "failure",
        text=f"{proposal.hypothesis} → {outcome}"[:2000],
        component=proposal.component,
        edit_key=proposal.edit_key,
        edit=edit,
        features=_features(parent, profile),
        gain=comparison.gain if comparison else 0.0,
        delta=comparison.delta if comparison else 0.0,
        delta_se=comparison.se if comparison else 0.0,
        utility=experiment.score.utility if experiment.score else None,
        cause="" if success else _cause(experiment),
    )


def _cause(experiment: Experiment) -> str:
    if experiment.feedback.failure:
        return experiment.feedback.failure.kind
    if experiment.status == "vetoed":
        return "vetoed"
    gain = experiment.comparison.gain if experiment.comparison else 0.0
    return "worse" if gain < -1 else "no_gain"


def _features(parent: Experiment | None, profile: Sequence[Observation]) -> dict[str, float]:
    seen = [*(parent.feedback.observations if parent else ()), *profile]
    numbers = {o.name: float(o.value) for o in seen if isinstance(o.value, int | float)}
    return dict(list(numbers.items())[:MAX_FEATURES])
