"""The training examples of a run under all tokenizers: aligned once, in processes where that pays, and kept."""
