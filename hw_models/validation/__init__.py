"""The cost model against NeuroSim and silicon. Public face: `neurosim_table:evaluate_rows`, `silicon:compare`."""
