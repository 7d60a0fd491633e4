"""Tokenizers: where they come from, what they are made of, and exact encodings."""
