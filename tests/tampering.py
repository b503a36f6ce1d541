"""Files of `tinynn.save` with other content, and a digest that fits it."""

import json

import safetensors.numpy

from tinynn.files.saving import digest

__all__ = ["rewritten"]


def rewritten(path, change):
    """Change the JSON of a file, with a digest that fits."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    described = json.loads(header["__metadata__"]["tinynn"])
    change(described)
    arrays = safetensors.numpy.load_file(path)
    text = json.dumps(described)
    safetensors.numpy.save_file(arrays, path, {"tinynn": text, "sha256": digest(text, arrays)})
