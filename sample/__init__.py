"""Entry points that use models: `python -m sample.generate`, `judge`, `score`, `critical`, `evaluate`, `report`, `solve`."""
