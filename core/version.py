"""The installed version of copygym."""

from importlib.metadata import version

__version__: str = version("copygym")
