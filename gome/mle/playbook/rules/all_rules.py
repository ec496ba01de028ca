"""The whole rule base and its fingerprint."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

from gome.mle.playbook.rules import columns, families, features, hyper, outcome
from gome.mle.playbook.rules.base import Rule

RULES: tuple[Rule, ...] = (
    *columns.RULES,
    *features.RULES,
    *families.RULES,
    *hyper.RULES,
    *outcome.RULES,
)
BY_ID: dict[str, Rule] = {rule.id: rule for rule in RULES}


@cache
def fingerprint() -> str:
    """Digest of the sources of the rule base, so that an experiment can say which rules it ran with."""
    from importlib import resources

    folder = resources.files("gome.mle.playbook.rules")
    text = "".join(
        folder.joinpath(f"{name}.py").read_text(encoding="utf-8")
        for name in ("base", "columns", "features", "families", "hyper", "outcome")
    )
    return sha256(text.encode()).hexdigest()[:16]
