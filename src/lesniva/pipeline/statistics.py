"""Yield statistics of an area, from tables as people have them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from lesniva import aoi, yields
from lesniva.errors import InputError


@dataclass(frozen=True)
class Statistics:
    """Yields of an area, and the story of how they came about."""

    yields: pd.DataFrame
    """Columns of `yields.read`, and ``flags`` (`yields.flag`)."""
    report: pd.DataFrame
    """One row a file, name and crop: ``file`` and the columns of `yields.Imported.report`."""

    def lines(self) -> Iterator[str]:
        """Say in plain words what was taken, dropped and doubted, and why."""
        table, matched = self.yields, self.report["outcome"] == "matched"
        yield (
            f"{len(table)} yields: {table['adm_id'].nunique()} districts, "
            f"{', '.join(sorted(table['crop'].unique()))}, "
            f"{table['year'].min()}-{table['year'].max()}, t/ha"
        )
        basis = ", ".join(
            f"{name} {count}" for name, count in table.value_counts("weight_basis").items()
        )
        yield f"weight basis: {basis}"
        yield f"matched: {matched.sum()} of {len(self.report)} series"
        for reason, rows in self.report[~matched].groupby("reason"):
            names = list(dict.fromkeys(rows["source_name"] + " / " + rows["source_crop"]))
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            yield f"dropped, {reason}: {'; '.join(names[:5])}{more}"
        for row in self.report[matched & (self.report["reason"] != "")].itertuples():
            yield f"note: {row.source_name} / {row.source_crop}: {row.reason}"
        flags = table["flags"].str.split().explode().value_counts()
        for flag, count in flags.items():
            yield f"doubtful, kept with a flag: {count} × {flag}"


def import_yields(
    files: Sequence[Path],
    *,
    area: Path,
    crop: str | None = None,
    region: str | None = None,
    unit: str = "c/ha",
    weight_basis: str | None = None,
) -> Statistics:
    """Read tables of Rosstat and match their names with the districts of an area.

    Parameters
    ----------
    files
        In any of the shapes of `yields.import_table`.
    area
        Area file: its districts, or the area itself, are what names are matched with.
    crop, region, unit, weight_basis
        As for `yields.import_table`.

    Returns
    -------
    Statistics
        Where two files give one district, crop and year, the first one stands, and the report
        says so.

    Raises
    ------
    InputError
        A file is none of the known shapes, or nothing in it matched; all files' faults in one
        message.
    """
    ground = aoi.load(area)
    known = {ground.id: ground.name_ru, **ground.districts["name_ru"]}
    match = partial(aoi.match_name, known=known)
    faults, tables, reports = [], [], []
    for path in files:
        try:
            imported = yields.import_table(
                path, match=match, crop=crop, region=region, unit=unit, weight_basis=weight_basis
            )
        except InputError as error:
            faults.append(str(error))
            continue
        tables.append(imported.yields.assign(file=path.name))
        reports.append(imported.report.assign(file=path.name))
    if faults:
        raise InputError("; ".join(faults))
    table, report = pd.concat(tables), pd.concat(reports, ignore_index=True)
    twice = table.duplicated(["adm_id", "crop", "year"])
    for (file, adm_id, code), rows in table[twice].groupby(["file", "adm_id", "crop"]):
        of_series = (report[["file", "adm_id", "crop"]] == [file, adm_id, code]).all(axis=1)
        report.loc[of_series, "reason"] = (
            f"{len(rows)} years stand in an earlier file already, which is kept"
        )
    return Statistics(yields.flag(table[~twice].drop(columns="file")), report)
