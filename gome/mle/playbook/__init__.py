"""The built-in reasoner that needs no language model: rules from observations to edits of a pipeline."""
