"""Reports people look at, drawn from a run record; needs no framework."""
