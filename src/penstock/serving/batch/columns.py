"""From a row to a request, and from an answer to columns; what is joined and what is kept. Pure.

The three steps are those of SageMaker's batch transform: InputFilter (`text`: what of a row is sent), JoinSource (`join`: whether the
row's own columns stand beside the answer) and OutputFilter (`keep`: which columns of that are written).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from penstock.core.errors import BadInput
from penstock.serving.batch.rows import Row
from penstock.spec.steps import PredictConfig

PATHS = {"text-classification": "/v1/classify", "embedding": "/v1/embeddings"}
ANSWERS = {
    "/v1/classify": ("label", "score", "labels"),
    "/v1/embeddings": ("embedding",),
    "/v1/completions": ("answer", "finish_reason", "prompt_tokens", "completion_tokens"),
}
ERROR = "error"
OPENAI_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/classify")


def answer_columns(config: PredictConfig) -> tuple[str, ...]:
    """Names of what an answer adds, with the prefix; `error` comes last."""
    names = ANSWERS[config.path]
    if config.path == "/v1/classify" and config.params.get("top_k", 1) == 1:
        names = names[:2]
    return (*(config.prefix + name for name in names), config.prefix + ERROR)


def check(config: PredictConfig, columns: Sequence[str]) -> None:
    """Raises BadInput where the file lacks what is sent or kept, or its columns would be overwritten; names what there is."""
    if config.form == "openai":
        if missing := [name for name in ("custom_id", "body") if name not in columns]:
            raise BadInput(
                f"the file has no {' and no '.join(missing)} (it has: {', '.join(columns)})",
                remedy='Each line is {"custom_id": …, "method": "POST", "url": "/v1/…", "body": {…}}; for plain rows leave out --openai.',
            )
        return
    if config.text not in columns:
        raise BadInput(f"the file has no column {config.text!r} (it has: {', '.join(columns)})", remedy="Name the text with --text.")
    made = answer_columns(config)
    if config.join and (taken := sorted(set(made) & set(columns))):
        raise BadInput(
            f"the file has a column {taken[0]!r} already, which the answer would overwrite",
            remedy="Give the answer's columns a --prefix, or leave the row's own out with --join none.",
        )
    there = (*(columns if config.join else ()), *made)
    if missing := [name for name in config.keep if name not in there]:
        raise BadInput(f"there is no column {missing[0]!r} to keep (there are: {', '.join(there)})")


def text_of(row: Row, config: PredictConfig) -> str | None:
    """The text that is sent; None when the row has none."""
    value = row.values.get(config.text)
    return value if isinstance(value, str) and value else None


def body_of(texts: Sequence[str], rows: Sequence[Row], config: PredictConfig) -> bytes:
    """The request for these rows: many texts where the route takes many, one prompt with its own seed where it generates."""
    body: dict[str, Any] = {"model": config.name, **config.params}
    if config.path == "/v1/completions":
        body["prompt"] = texts[0]
        if config.seed is not None:
            body["seed"] = (config.seed + rows[0].number) % (1 << 31)
    else:
        body["input"] = list(texts)
        if config.path == "/v1/classify":
            body.setdefault("top_k", 1)
    return orjson.dumps(body)


def answers_of(answer: Mapping[str, Any], count: int, config: PredictConfig) -> list[dict[str, Any]]:
    """The answer's columns for each of the `count` rows of the request, numbers rounded to `digits`. Raises KeyError for another shape."""
    if config.path == "/v1/completions":
        choice, usage = answer["choices"][0], answer.get("usage") or {}
        found = {"answer": choice["text"], "finish_reason": choice["finish_reason"]}
        return [found | {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}]
    data = answer["data"]
    if len(data) != count:
        raise KeyError(f"{len(data)} answers to {count} texts")
    if config.path == "/v1/embeddings":
        return [{"embedding": [round(v, config.digits) for v in row["embedding"]]} for row in data]
    found_ = []
    for row in data:
        labels = [{"label": each["label"], "score": round(each["score"], config.digits)} for each in row["labels"]]
        found_.append({"label": row["label"], "score": round(row["score"], config.digits), "labels": labels})
    return found_


def output_row(row: Row, answer: Mapping[str, Any], error: str | None, config: PredictConfig) -> dict[str, Any]:
    """The columns that are written for a row: its own where they are joined, the answer's, the error (null when there is none)."""
    made = {name: answer.get(name.removeprefix(config.prefix)) for name in answer_columns(config)[:-1]}
    whole = {**(row.values if config.join else {}), **made, config.prefix + ERROR: error}
    return {name: whole.get(name) for name in config.keep} if config.keep else whole


def openai_order(row: Row, config: PredictConfig) -> tuple[str, bytes]:
    """Path and body of a line of OpenAI's batch format, asked of this model. Raises BadInput naming what is wrong with the line."""
    url, body = row.values.get("url") or "/v1/chat/completions", row.values.get("body")
    if not isinstance(row.values.get("custom_id"), str):
        raise BadInput("custom_id is missing or no string")
    if (row.values.get("method") or "POST") != "POST":
        raise BadInput(f"method is {row.values['method']!r}; only POST is there")
    if url not in OPENAI_PATHS:
        raise BadInput(f"url is {url!r}; it must be one of {', '.join(OPENAI_PATHS)}")
    if not isinstance(body, dict):
        raise BadInput("body is missing or no object")
    if body.get("stream"):
        raise BadInput("body.stream is true; a batch has nobody to stream to")
    return url, orjson.dumps({**body, "model": config.name})


def openai_line(row: Row, status: int, answer: Any, error: Mapping[str, Any] | None) -> dict[str, Any]:
    """A line of OpenAI's output format. Ids follow from the row, so that the same batch gives the same bytes."""
    ident = f"batch_req_{row.number:012d}"
    response = None if status == 0 else {"status_code": status, "request_id": ident, "body": _without_moment(answer, ident)}
    return {"id": ident, "custom_id": row.values.get("custom_id"), "response": response, "error": error}


def _without_moment(answer: Any, ident: str) -> Any:
    """`id` and `created` tell the moment; here they tell the row."""
    if isinstance(answer, dict):
        return {**answer, **({"id": ident} if "id" in answer else {}), **({"created": 0} if "created" in answer else {})}
    return answer
