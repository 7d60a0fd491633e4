"""Students and teachers: where their weights come from and how they are made."""
