"""One file a recipe: how each model is trained, and what came of it. `python -m recipes.NAME`."""
