"""The circuits of the hardware, from a transistor to the chip. Public face: `chip:build_chip`, `crossbar:crossbar`."""
