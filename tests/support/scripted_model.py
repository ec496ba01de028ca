"""A "model" for the scripted server: it reads the prompt's purpose and answers as a modest engineer would."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

PROGRAM = """import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

DEGREE = {degree}


def features(frame, columns):
    x = frame[columns].to_numpy(float)
    return np.hstack([x**power for power in range(1, DEGREE + 1)]) if DEGREE else np.zeros((len(x), 1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train = pd.read_csv(args.data / "train.csv")
    test = pd.read_csv(args.data / "test.csv")
    if args.debug:
        train = train.head(50)
    columns = [c for c in test.columns if c != "{id}"]
    model = Ridge().fit(features(train, columns), train["{target}"])
    pd.DataFrame({{"{id}": test["{id}"], "{target}": model.predict(features(test, columns))}}).to_csv(
        args.out / "submission.csv", index=False
    )


main()
"""


class Engineer:
    """Raises the degree of a polynomial by one with each step, and takes up what memory shows it.

    Call it with the body of a chat request; it returns the text of the answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._proposals = 0

    def __call__(self, body: dict[str, Any]) -> str:
        prompt = "\n".join(m["content"] for m in body["messages"])
        if "You are the reasoning half" in prompt:
            return self._propose(prompt)
        if "You read the result" in prompt:
            return json.dumps({"confirmed": True, "lesson": "More powers help.", "veto": False, "reason": ""})
        if "Proposed change" in prompt:
            return self._program(prompt)
        raise AssertionError(f"an unknown prompt: {prompt[:200]}")

    def _propose(self, prompt: str) -> str:
        with self._lock:
            self._proposals += 1
            number = self._proposals
        before = re.findall(r"^DEGREE = (\d+)", prompt, re.M)
        degree = int(before[0]) + 1 if before else 0
        uses = [{"entry": e, "use": "adapted"} for e in re.findall(r"^id (t\d+-s\d+)", prompt, re.M)]
        return json.dumps(
            {
                "causes": [
                    {"cause": "underfit", "evidence": ["rows"], "expected_gain": 0.1, "confidence": 0.8}
                ],
                "hypotheses": [
                    {
                        "cause": 0,
                        "component": "features",
                        "key": f"degree={degree}.{number}",
                        "hypothesis": f"Fit a polynomial of degree {degree}.",
                        "change": f"Set DEGREE = {degree}.",
                        "step_size": "patch",
                        "alignment": 8,
                        "impact": 8,
                        "novelty": 8,
                        "feasibility": 8,
                        "risk_reward": 8,
                        "uses": [*uses, {"entry": "t99-s099", "use": "adopted"}],
                    }
                ],
            }
        )

    def _program(self, prompt: str) -> str:
        degree = re.findall(r"DEGREE = (\d+)\.", prompt)[-1]
        target, id_column = re.findall(r"target column: '(.+?)'; id column: '(.+?)'", prompt)[0]
        code = PROGRAM.format(degree=degree, target=target, id=id_column)
        return f"I set the degree.\n```python\n{code}```"
