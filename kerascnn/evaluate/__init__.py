"""How good a model is, counted exactly."""
