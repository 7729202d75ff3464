"""What solutions are compared with: exact formulas, and solutions computed here by better methods than a network.

Every reference states its own relative error and how that was measured.
"""
