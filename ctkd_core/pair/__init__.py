"""A pair of tokenizers or models: report, advice, corpus measurements."""
