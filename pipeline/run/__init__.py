"""The loop of a study: ask for designs, evaluate them, record the results. Public face: `runner.Runner`."""
