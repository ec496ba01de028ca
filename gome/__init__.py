"""Gome: optimizes a solution the way a gradient method optimizes parameters."""
