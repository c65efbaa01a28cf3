"""What computing-in-memory hardware is and what it costs. Needs NumPy and PyYAML only."""
