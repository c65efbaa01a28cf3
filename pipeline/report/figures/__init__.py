"""The report's figures for plotly, functions `NAME_figure`, of trials read by `pipeline.report.findings`."""
