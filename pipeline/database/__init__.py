"""Studies and trials in their database. Public face: `open_study.open_study`."""
