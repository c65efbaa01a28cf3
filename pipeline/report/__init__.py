"""What a study found, as a page, tables and a dashboard: `page:write_report`, `dashboard_notes:prepare_dashboard`."""
