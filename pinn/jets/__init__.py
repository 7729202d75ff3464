"""Taylor jets: a quantity with its derivatives, carried through a network in one pass."""
