"""Molecular dynamics of many systems at once: see `mlff.deploy.batched_md.simulation.simulate`."""
