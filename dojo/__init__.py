"""The world: what a task is, how a solution runs confined, how it is scored. Knows no agent and no Ray."""
