"""The model zoo: zoo/*.yaml, class names in labels/, the default detector's weights, sample photos. Data, no code."""
