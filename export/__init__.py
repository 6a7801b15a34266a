"""Models made into artefacts that ship or run elsewhere; never imported at run time."""
