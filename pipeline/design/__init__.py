"""A design and its measured values: `design_point:DesignPoint`, `topology:topology`, `metrics:METRICS`."""
