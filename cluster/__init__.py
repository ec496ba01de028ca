"""The adapter to Ray: the only package that imports it."""
