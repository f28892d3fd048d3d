"""Several devices and several machines with one model.

Who trains, how they meet, what replicas add up, what workers tell each other live here.
May import: `utils`.
"""
