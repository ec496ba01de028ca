"""Agents for machine-learning-engineering tasks."""
