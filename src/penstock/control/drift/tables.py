"""Two tables to compare: CSV, JSON lines or Parquet files, folders of Parquet, or dataset artifacts by digest.

A column is numbers, categories, text, or an identifier that is left out, by what is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from penstock.core.errors import BadInput, NotFound, SourceUnreadable

if TYPE_CHECKING:
    import polars as pl

    from penstock.store.store import Store

Kind = Literal["numbers", "categories", "text"]
MOST_ROWS, MOST_CATEGORIES, FEW_NUMBERS = 200_000, 1000, 12
TEXT_WORDS, TEXT_LETTERS = 3.0, 20.0  # on average, from which strings are texts
SEED = 7


def read_table(source: str, store: Store | None) -> pl.DataFrame:
    """At most MOST_ROWS rows, drawn evenly. Raises NotFound, SourceUnreadable, BadInput."""
    import polars as pl

    try:
        table = _read(source, store)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise SourceUnreadable(f"{source} does not read as a table: {str(error).splitlines()[0][:200]}") from error
    if not table.height:
        raise SourceUnreadable(f"{source} holds no row")
    return table.sample(MOST_ROWS, seed=SEED) if table.height > MOST_ROWS else table


def _read(source: str, store: Store | None) -> pl.DataFrame:
    import polars as pl

    if source.startswith("sha256:"):
        digest, _, split = source.partition("#")
        if store is None:
            raise BadInput("an artifact needs a home: run where .penstock is, or set PENSTOCK_HOME")
        return _dataset(store.artifacts.materialize(digest), split)
    path = Path(source)
    if path.is_dir():
        return _dataset(path, "")
    if not path.is_file():
        raise NotFound(f"there is no file {source}", remedy="Name a CSV, JSONL or Parquet file, a folder of Parquet, or a dataset.")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pl.read_parquet(path)
    if suffix in (".jsonl", ".ndjson"):
        return pl.read_ndjson(path, infer_schema_length=10_000)
    if suffix in (".csv", ".tsv"):
        return pl.read_csv(path, separator="\t" if suffix == ".tsv" else ",", infer_schema_length=10_000, ignore_errors=True)
    raise BadInput(f"{source}: a table is a .csv, .tsv, .jsonl or .parquet file", remedy="Convert it, or name a dataset by its digest.")


def _dataset(folder: Path, split: str) -> pl.DataFrame:
    """The rows of one split of a dataset, train unless said; of any other folder all its Parquet files. Labels by name."""
    import json

    import polars as pl

    wanted = split or "train"
    if (folder / f"{wanted}.parquet").is_file():
        table = pl.read_parquet(folder / f"{wanted}.parquet")
        names = folder / "labels.json"
        if names.is_file() and "label" in table.columns:
            listed = json.loads(names.read_bytes())
            table = table.with_columns(pl.Series("label", [listed[label] for label in table["label"].to_list()]))
        return table
    files = sorted(folder.glob("*.parquet"))
    if split or not files:
        raise NotFound(f"{folder} has no {wanted}.parquet", remedy="Write DIGEST#validation or DIGEST#test for another split.")
    return pl.concat([pl.read_parquet(file) for file in files], how="diagonal_relaxed")


def kind_of(one: pl.Series, other: pl.Series) -> Kind | None:
    """What both are compared as; None for identifiers, dates, lists and whatever else has no distribution to speak of."""
    import polars as pl

    numeric = [side.dtype.is_numeric() for side in (one, other)]
    both = pl.concat([side.drop_nulls().head(5000) for side in (one, other)]) if one.dtype == other.dtype else None
    if all(numeric):
        whole = all(side.dtype.is_integer() for side in (one, other))
        distinct = len({*one.drop_nulls().head(5000).to_list(), *other.drop_nulls().head(5000).to_list()})
        return "categories" if whole and distinct <= FEW_NUMBERS else "numbers"
    if any(numeric) or both is None or both.dtype not in (pl.String, pl.Boolean, pl.Categorical, pl.Enum) or not len(both):
        return None
    if both.dtype == pl.Boolean:
        return "categories"
    strings = both.cast(pl.String)
    letters, spaces = strings.str.len_chars().mean() or 0.0, strings.str.count_matches(r"\s+").mean() or 0.0
    if float(spaces) + 1 >= TEXT_WORDS and float(letters) >= TEXT_LETTERS:  # type: ignore[arg-type]
        return "text"
    return "categories" if strings.n_unique() <= min(MOST_CATEGORIES, max(20, 0.5 * len(strings))) else None
