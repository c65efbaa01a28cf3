"""The cost model beside NeuroSim and beside silicon. Public face: `neurosim_table:evaluate_rows`, `silicon:compare`."""
