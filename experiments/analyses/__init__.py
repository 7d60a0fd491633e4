"""What no table of runs answers: each module has `run(experiment, say)`, which returns what results.json holds."""
