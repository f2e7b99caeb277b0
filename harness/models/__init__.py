"""Base models: resolving, embedding, quantizing, counting, CPU acceleration."""
