"""Images of a study: `sets:DATA_SETS`, `spec:DatasetSpec`, `spec:check_data`, `fetch:fetch`, `batches:load_images`."""
