"""A model on disk: boosters as text, everything else in one manifest.

LightGBM ends the whole interpreter on most damaged model texts, and reads a truncated one without
a word. So no text reaches it whose SHA-256 is not the one in the manifest, and the manifest
carries its own.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lesniva.errors import InputError
from lesniva.forecast import model
from lesniva.forecast.current import Model
from lesniva.forecast.intervals import Spread
from lesniva.forecast.panel import Floats
from lesniva.forecast.walk import Recipe
from lesniva.storage import sha256, write_json, write_text

MANIFEST = "model.json"
SCHEMA = 1


def save(fitted: Model, folder: Path) -> None:
    """Write a model into a folder of its own: boosters first, the manifest last.

    Parameters
    ----------
    fitted
        As `fit` gave it.
    folder
        Made when not there; a model already in it is replaced.

    Raises
    ------
    EnvironmentFaultError
        The folder cannot be written.
    """
    (folder / MANIFEST).unlink(missing_ok=True)
    files = []
    boosters = fitted.boosters
    for name, fits in (boosters.members if boosters else {}).items():
        for number, booster in enumerate(fits):
            path = folder / f"{name}-{number}.txt"
            write_text(path, booster.model_to_string())
            files.append(
                {
                    "member": name,
                    "file": path.name,
                    "sha256": sha256(path),
                    "trees": booster.num_trees(),
                    "columns": model.columns(name, fitted.predictors),
                }
            )
    content = {
        "schema": SCHEMA,
        "crop": fitted.crop,
        "cutoff": fitted.cutoff,
        "year": fitted.year,
        "train_years": list(boosters.train_years) if boosters else [],
        "data_sha256": fitted.data_sha256,
        "skill": fitted.skill,
        "statement": fitted.statement,
        "predictors": list(fitted.predictors),
        "adm_ids": list(fitted.adm_ids),
        "plain": _listed(fitted.plain),
        "past_years": _listed(fitted.past_years),
        "area_ha": _listed(fitted.area),
        "recipe": {
            "plain_weights": _listed(fitted.recipe.plain_weights),
            "members": _listed(fitted.recipe.members),
            "weight": fitted.recipe.weight,
            "inner_skill": _or_none(fitted.recipe.inner_skill),
            "spread": vars(fitted.recipe.spread) if fitted.recipe.spread else None,
        },
        "climatology": _listed(boosters.climatology) if boosters else None,
        "mean": _listed(boosters.mean) if boosters else None,
        "boosters": files,
    }
    write_json(folder / MANIFEST, {**content, "sha256": _digest(content)})


def load(folder: Path, *, probe: bool = True) -> Model:
    """Read a model back, after checking every byte of it.

    Parameters
    ----------
    folder
        As `save` wrote it.
    probe
        Let another interpreter read the boosters first: whoever writes a checksum anew over a
        damaged text would else end this one. Not needed for a model of one's own.

    Raises
    ------
    InputError
        There is no model, it is of another schema, or a file is damaged or missing.
    """
    content = _manifest(folder / MANIFEST)
    try:
        texts = [_checked_text(folder, entry) for entry in content["boosters"]]
        if probe and texts:
            _probe(folder, [folder / str(entry["file"]) for entry in content["boosters"]])
        return _model(content, texts)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: the model lacks {error}; fit it again") from error


def _probe(folder: Path, paths: list[Path]) -> None:
    """Read the boosters in an interpreter that may die of it."""
    code = "import sys, lightgbm; [lightgbm.Booster(model_file=path) for path in sys.argv[1:]]"
    tried = subprocess.run(  # noqa: S603 (our own interpreter, on files just checked)
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, check=False
    )
    if tried.returncode:
        raise InputError(f"{folder}: LightGBM cannot read its boosters; fit the model again")


def _manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; fit a model first") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged; fit the model again") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise InputError(f"{path} is not the manifest of a model")
    if content["schema"] != SCHEMA:
        raise InputError(
            f"{path} has schema {content['schema']}, this program reads {SCHEMA}; fit it again"
        )
    said = content.pop("sha256", None)
    if said != _digest(content):
        raise InputError(f"{path} is damaged: its checksum is wrong; fit the model again")
    return content


def _checked_text(folder: Path, entry: dict[str, Any]) -> str:
    path = folder / str(entry["file"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; fit the model again") from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise InputError(f"{path} is damaged: its checksum is wrong; fit the model again")
    return data.decode("utf-8")


def _model(content: dict[str, Any], texts: list[str]) -> Model:
    import lightgbm

    members: dict[str, tuple[Any, ...]] = {}
    for entry, text in zip(content["boosters"], texts, strict=True):
        booster = lightgbm.Booster(model_str=text)
        if booster.num_trees() != entry["trees"] or booster.num_feature() != len(entry["columns"]):
            raise InputError(f"booster {entry['file']} is not the one described; fit it again")
        members[entry["member"]] = (*members.get(entry["member"], ()), booster)
    boosters = None
    if content["climatology"] is not None:
        boosters = model.Boosters(
            members,
            _array(content["climatology"]),
            _array(content["mean"]),
            tuple(content["train_years"]),
        )
    recipe, spread = content["recipe"], content["recipe"]["spread"]
    return Model(
        crop=content["crop"],
        cutoff=content["cutoff"],
        year=content["year"],
        adm_ids=tuple(content["adm_ids"]),
        predictors=tuple(content["predictors"]),
        boosters=boosters,
        plain=_array(content["plain"]),
        past_years=_array(content["past_years"]),
        area=_array(content["area_ha"]),
        recipe=Recipe(
            plain_weights=_array(recipe["plain_weights"]),
            members=_array(recipe["members"]),
            weight=recipe["weight"],
            inner_skill=np.nan if recipe["inner_skill"] is None else recipe["inner_skill"],
            spread=Spread(**{**spread, "shape": tuple(spread["shape"])}) if spread else None,
        ),
        skill=content["skill"],
        statement=content["statement"],
        data_sha256=content["data_sha256"],
    )


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _listed(values: Floats) -> Any:
    """Nested lists with None for NaN, which JSON does not know."""
    listed = values.astype(object)
    listed[~np.isfinite(values)] = None
    return listed.tolist()


def _array(values: Any) -> Floats:
    return np.array(values, dtype=np.float64)


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
