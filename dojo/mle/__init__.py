"""Machine-learning-engineering tasks: packages, views of the data, metrics, grading, observations."""
