"""edgeferry carries machine-learning models to a fleet of edge devices and brings back proof.

Floors, top to bottom (an import contract in `.importlinter` keeps them): `cli`, `wiring`,
`workflows | adapters | hub | device | sandbox`, `ports | settings | engine`, `wire`, `domain`, `errors`.
"""

__version__ = "0.1.0"
