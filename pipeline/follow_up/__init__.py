"""Follow-ups of finished trials: `measure_again:measure_again` and `:replay`, `export:export_design`,
`device_requirements:requirements`."""
