"""What the Losses and Align pages ask of models: questions, the workers that answer, and stored answers."""
