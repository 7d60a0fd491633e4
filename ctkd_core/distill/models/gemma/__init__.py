"""Gemma 3 270M, a second family of models that works offline: for who accepts its terms, and never by itself."""
