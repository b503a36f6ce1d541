"""The pipe rooms: what the chapters share, and users need not read."""

__all__: list[str] = []
