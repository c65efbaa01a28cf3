"""Networks that functions build: nacim's families and users' files. `builders:load_builder` and `:build` make the torch
model of a function, `workload:workload_of` gives a design's layers and digital operations, `models:float_model` the
torch model of a design."""
