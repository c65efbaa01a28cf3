"""A finished trial looked at again: `measure_again:measure_again`, `replay:replay`, `export:export_design`, and
`device_requirements:requirements`, which asks what memory cell it needs."""
