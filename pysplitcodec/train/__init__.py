"""Training of split models: bottleneck, codebook and both halves together.

>>> run = train("recipe.toml", "runs/first")                # doctest: +SKIP

Importing this package imports numpy alone; what trains imports torch.
"""
