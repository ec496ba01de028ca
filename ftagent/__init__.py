"""FT-Agent: fine-tunes a language model end to end on the engine of `gome.loop`.

The package has no loop, memory or journal of its own; it will supply strategies for fine-tuning tasks.
"""
