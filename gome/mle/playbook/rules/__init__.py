"""The rule base: general knowledge of machine-learning engineering, as data and small functions.

No rule names a task or a column; what a rule knows of the data it has from the observations.
"""
