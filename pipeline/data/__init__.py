"""Images of a study: `sets:DATA_SETS`, `spec:DatasetSpec`, `fetch:fetch`, `files:check_data`, `batches:load_images`."""
