"""Questions that need no training: each module has `run(experiment, say)`, which returns what results.json holds."""
