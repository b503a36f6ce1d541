"""Files: saved models and runs, and formats for other programs."""

__all__: list[str] = []
