"""Files: saved models and runs, and the formats that others read."""

__all__: list[str] = []
