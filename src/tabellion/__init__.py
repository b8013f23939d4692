"""Tabellion: a self-hosted hub for recipient communication."""

__version__ = "0.1.0"
