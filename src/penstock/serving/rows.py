"""Labels and vectors of texts as the bodies of answers, a row a text."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import orjson

from penstock.engines.contract import Classified, Embedded
from penstock.serving.choices import usage


def classification(found: Classified, model: str, ident: str) -> bytes:
    """Our own shape: the best label of each text, and all that were asked for, best first."""
    data = []
    for index, row in enumerate(found.rows):
        labels = [{"label": label, "score": score} for label, score in row]
        data.append({"index": index, "label": row[0][0], "score": row[0][1], "labels": labels})
    answer = {"id": ident, "object": "classification", "model": model, "data": data}
    return orjson.dumps({**answer, "usage": usage(found.prompt_tokens, None)})


def embeddings(found: Embedded, model: str, as_base64: bool) -> bytes:
    """OpenAI's shape; base64 holds little-endian float32."""
    data = [{"object": "embedding", "index": index, "embedding": _form(vector, as_base64)} for index, vector in enumerate(found.vectors)]
    return orjson.dumps({"object": "list", "model": model, "data": data, "usage": usage(found.prompt_tokens, None)})


def _form(vector: Sequence[float], as_base64: bool) -> Any:
    numbers = [float(v) for v in vector]
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if as_base64 else numbers
