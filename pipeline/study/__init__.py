"""What a study file says and which designs it allows: `study_file:load_study`, `search_space:SearchSpace`."""
