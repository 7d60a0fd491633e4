"""What the training loop of transformers is told besides the loss: arguments, rates, units, processes, what is kept."""
