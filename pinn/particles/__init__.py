"""Agents that move, and densities, distances and checks made of them."""
