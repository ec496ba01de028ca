"""Ensembles of what was found, and the merge of several traces' ideas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gome.loop.proposal import Citation
from gome.loop.strategy import StepContext
from gome.mle.playbook.diagnose import Candidate, effective, history_specs, read_spec
from gome.mle.playbook.momentum import compatible, union
from gome.mle.playbook.pipeline import PipelineSpec, as_member, diff
from gome.mle.playbook.rules.base import Situation

MAX_MEMBERS = 4
BLEND_GAIN = 0.06
COSTS = {
    "knn": 2.0,
    "forest": 3.0,
    "extra_trees": 3.0,
    "hist_gb": 3.0,
    "lightgbm": 3.0,
    "svm": 4.0,
    "mlp": 6.0,
}


def _cost(member: PipelineSpec, problem: str) -> float:
    """Run time of a member, in that of a plain linear model."""
    if member.model.family == "bayes" and problem == "regression":
        return 8.0  # Bayesian ridge factorises the dense matrix
    return COSTS.get(member.model.family, 1.0)


def blends(ctx: StepContext, situation: Situation) -> list[Candidate]:
    """Blends of the parent with earlier pipelines of this trace, different ones and good ones first."""
    if ctx.task.problem == "forecast" or ctx.parent is None:
        return []
    specs = history_specs(ctx)
    scored = [e for e in ctx.history if e.score is not None and e.id in specs and e.id != ctx.parent.id]
    scored.sort(key=lambda e: -(e.score.utility if e.score else 0.0))
    parts: list[tuple[PipelineSpec, tuple[Citation, ...]]] = [(specs[e.id], ()) for e in scored]
    return _blend(ctx, situation, parts, "earlier pipelines of this trace")


def merges(ctx: StepContext, situation: Situation) -> list[Candidate]:
    """Combinations of the parent with the best of other traces: a blend, the union of ideas, or their best."""
    others = [(e, s) for e, files in ctx.merge_with if (s := read_spec(files)) is not None]
    spec = situation.spec
    found: list[Candidate] = []
    utility = ctx.parent.score.utility if ctx.parent and ctx.parent.score else None
    if ctx.task.problem != "forecast":
        parts = [(s, (Citation(entry=e.id, trace=e.trace, use="adapted"),)) for e, s in others]
        found += _blend(ctx, situation, parts, "the best of other traces")
    for experiment, other in others:
        cited = (Citation(entry=experiment.id, trace=experiment.trace, use="adapted"),)
        if utility is not None and experiment.score is not None and experiment.score.utility > utility:
            found.append(
                _merge(
                    ctx,
                    situation,
                    diff(spec, other),
                    f"Go on from the better solution of {experiment.id}",
                    cited,
                    0.3,
                )
            )
        wanted = compatible(spec, union(spec, other))
        found.append(
            _merge(
                ctx,
                situation,
                wanted,
                f"Add what {experiment.id} has found and this solution lacks",
                cited,
                0.025,
            )
        )
    return [c for c in found if c.changes]


def _merge(
    ctx: StepContext,
    situation: Situation,
    wanted: dict[str, Any],
    hypothesis: str,
    cited: tuple[Citation, ...],
    expected: float,
) -> Candidate:
    changes = effective(ctx.task, situation.spec, wanted) if wanted else None
    named = ", ".join(sorted(changes)[:5]) if changes else ""
    return Candidate(
        changes=changes or {},
        component="merge",
        hypothesis=f"{hypothesis} ({named})",
        cause="each trace has found only part of what works",
        expected=expected,
        confidence=0.5,
        step="rewrite",
        origin="union",
        citations=cited,
    )


def _blend(
    ctx: StepContext,
    situation: Situation,
    parts: Sequence[tuple[PipelineSpec, tuple[Citation, ...]]],
    where: str,
) -> list[Candidate]:
    """Blends with one, two and three further members; members alike but for details are left out."""
    spec = situation.spec
    members = [m.to_json() for m in spec.ensemble.members]
    fresh_members: list[PipelineSpec] = []
    keys = {as_member(spec).key(), *(m.key() for m in spec.ensemble.members)}
    families = {spec.model.family, *(m.model.family for m in spec.ensemble.members)}
    cited: tuple[Citation, ...] = ()
    found: list[Candidate] = []
    flat = [(m, c) for s, c in parts for m in (as_member(s), *s.ensemble.members)]
    # Members of another family err differently; after them the better ones come first (a stable sort).
    for member, citation in sorted(flat, key=lambda part: part[0].model.family in families):
        if member.key() in keys or len(members) >= MAX_MEMBERS:
            continue
        keys.add(member.key())
        members = [*members, member.to_json()]
        fresh_members.append(member)
        cited = tuple(dict.fromkeys((*cited, *citation)))
        changes = effective(
            ctx.task,
            spec,
            {
                "ensemble.method": "blend",
                "ensemble.optimize": True,
                "ensemble.weights": [],
                "ensemble.members": members,
            },
        )
        if changes is None:
            continue
        names = sorted(
            {member.model.family, *(m["model"].get("family", "ridge") for m in members if "model" in m)}
        )
        fresh = member.model.family not in families
        found.append(
            Candidate(
                changes=changes,
                component="ensemble",
                hypothesis=f"Blend with {where} ({', '.join(names)}), weights fitted out of fold",
                cause="the errors of different pipelines partly cancel",
                evidence=tuple(situation.seen[n] for n in ("rows", "fold_spread") if n in situation.seen),
                expected=BLEND_GAIN * (1.0 if fresh else 0.6),
                confidence=0.6,
                step="rewrite",
                origin="blend",
                cost=1.0 + sum(_cost(m, ctx.task.problem) for m in fresh_members),
                citations=cited,
            )
        )
    return found
