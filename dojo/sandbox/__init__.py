"""Confinement of candidate programs."""
