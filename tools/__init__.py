"""Commands, a module each: what `kerascnn` runs for users, and what `make` runs for us."""
