"""One design measured: cost, training, accuracy over simulated chips. Public face: `evaluate.evaluate`."""
