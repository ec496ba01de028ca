"""The agent whose reasoning and code come from a language model."""
