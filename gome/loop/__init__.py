"""The one core loop: traces, shared memory, journal, budgets. Knows nothing of one kind of task."""
