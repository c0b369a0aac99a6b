"""envup: one Envfile, the same machine at four strengths of isolation."""

__version__ = "0.1.0"
