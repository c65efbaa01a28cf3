"""The search: design points, noisy networks, studies and what people look at."""
