"""Reports and live views, derived from the journal alone."""
