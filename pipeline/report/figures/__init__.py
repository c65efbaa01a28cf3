"""The report's figures for plotly, one function `NAME_figure` a file, of trials read by `pipeline.report.findings`."""
