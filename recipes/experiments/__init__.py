"""The lectures' experiments, on the built-in digits. `python -m recipes.experiments.NAME`."""
