"""Images: which data sets there are, how they are fetched, checked and read, and batches of them.

Public face: `pipeline.data.spec:DatasetSpec`, `pipeline.data.sets:DATA_SETS`, `pipeline.data.files:check_data`,
`pipeline.data.batches:load_images`, `pipeline.data.fetch:fetch`.
"""
