"""Boundary files of any make become checked areas, and a report says what was found.

The plan: read with one of three drivers, whatever the CRS; mend or refuse each polygon; find names
and ids; join features of one district; then measure: areas against what is known, overlaps, gaps.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import geopandas as gpd
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from lesniva.aoi.area import (
    DISTRICT_COLUMNS,
    Area,
    id_faults,
    is_path_safe,
    load,
    place_faults,
)
from lesniva.aoi.geometry import AreaGeometry, areas_km2, mended, polygons_of
from lesniva.aoi.names import english, kind_of, match_name, slug
from lesniva.aoi.vector import first_line, read_vector
from lesniva.errors import InputError

NAME_COLUMNS = ("name_ru", "name:ru", "name", "наименование", "название", "район", "name_en")
ENGLISH_COLUMNS = ("name_en", "name:en", "int_name")
ID_COLUMNS = ("id", "adm_id")

SMALLEST_KM2 = 0.01
"""A hectare: overlaps and gaps below it come from rounding."""

LARGE_DIFFERENCE = 0.05
"""Share of the known area beyond which the report asks to look."""


@dataclass(frozen=True)
class DistrictRow:
    """One imported district, measured."""

    adm_id: str
    name: str
    area_km2: float
    """On the WGS 84 ellipsoid."""
    known_km2: float | None
    """From the table of known areas; None where it has none."""
    mended: str
    """What was done to its geometry; "" when it was fine."""

    @property
    def difference(self) -> float | None:
        """Share of the known area by which the imported one is larger."""
        return None if not self.known_km2 else self.area_km2 / self.known_km2 - 1


@dataclass(frozen=True)
class Overlap:
    """Ground that two districts claim."""

    names: tuple[str, str]
    area_km2: float


@dataclass(frozen=True)
class Gap:
    """Ground between districts that none of them has."""

    neighbours: tuple[str, ...]
    area_km2: float


@dataclass(frozen=True)
class Report:
    """What an import found."""

    source: str
    area_km2: float
    """Of the region's outline."""
    rows: tuple[DistrictRow, ...]
    overlaps: tuple[Overlap, ...]
    """Largest first; from a hectare on."""
    gaps: tuple[Gap, ...]
    """Largest first; from a hectare on."""
    notices: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report in plain words, one line a finding."""
        lines = [f"{self.source}: {len(self.rows)} districts, {self.area_km2:,.0f} km² in all"]
        lines += [_row_line(row) for row in self.rows]
        lines += [
            f"overlap of {overlap.area_km2:,.2f} km²: {overlap.names[0]} and {overlap.names[1]}"
            for overlap in self.overlaps
        ]
        lines += [
            f"gap of {gap.area_km2:,.2f} km² between {', '.join(gap.neighbours) or 'no districts'}"
            for gap in self.gaps
        ]
        return lines + list(self.notices)


@dataclass(frozen=True)
class _Known:
    """Names and areas of districts by id."""

    names: dict[str, str]
    km2: dict[str, float]


def import_boundaries(
    source: str | Path,
    *,
    layer: str | None = None,
    encoding: str | None = None,
    id: str | None = None,  # noqa: A002 (the word the area file uses)
    name_en: str | None = None,
    name_ru: str | None = None,
    id_column: str | None = None,
    name_column: str | None = None,
    known: str | Path | Area | pd.DataFrame | None = None,
    credit: str | None = None,
    lonlat: bool = False,
) -> tuple[Area, Report]:
    """Turn a boundary file into a checked area.

    Parameters
    ----------
    source
        GeoJSON, GeoPackage or Shapefile with polygons, in any CRS. One feature a district, or
        several (joined); a feature of ``kind`` "region" is the outline, otherwise the outline is
        the union of the districts.
    layer
        Layer to read, where the file has several.
    encoding
        Encoding of a Shapefile's texts where it does not tell; old Russian ones are cp1251.
    id, name_en, name_ru
        Of the area; by default made from the file's name.
    id_column
        Column with the ids of the districts. By default ``id`` or ``adm_id`` where it can serve;
        else ids come from `known`, by name; else they are made from the names, always the same.
    name_column
        Column with the names; by default the first of the usual ones.
    known
        What is known of the districts: a CSV file or table with columns ``id name_ru`` and, for
        comparison, ``area_km2``; or an area, or its file (approximate areas give names only).
    credit
        Whose data it is and under which licence; goes into the area file.
    lonlat
        Vouch that longitude comes first where the place makes that doubtful.

    Returns
    -------
    tuple of Area and Report
        The area is valid and can be saved with `save`.

    Raises
    ------
    InputError
        With all faults found: unreadable, another format, no CRS, geometry past repair, no names,
        ids unfit or twice there.
    """
    path = Path(source)
    table, notices = read_vector(path, "boundary file", layer=layer, encoding=encoding)
    table = table.rename(columns=lambda column: str(column).strip())
    table["mended"] = _mend(table, path)
    regions = table["kind"] == "region" if "kind" in table else pd.Series(False, index=table.index)
    area_id = id or slug(path.stem)
    reference = _known(known)
    districts = _named(table[~regions], path, area_id, id_column, name_column, reference, notices)
    faults = id_faults(area_id, list(districts.index))
    given = polygons_of(shapely.union_all(table.geometry[regions].to_numpy()))
    outline = given or _union(districts)
    faults += place_faults(outline, lonlat=lonlat, remedy="say so with lonlat")
    if faults:
        raise InputError(f"boundary file {path}: {'; '.join(faults)}")
    title = name_ru or name_en or area_id
    area = Area(
        id=area_id,
        name_en=name_en or title,
        name_ru=title,
        outline=outline,
        districts=districts[DISTRICT_COLUMNS],
        approximate=bool(districts["approximate"].any()),
        source=credit or f"imported from {path.name}",
    )
    gaps = _gaps(given or _filled(outline), districts)
    return area, _report(path, area, districts["mended"], reference, notices, gaps)


def _mend(table: gpd.GeoDataFrame, path: Path) -> list[str]:
    """Mend the geometries in place; return what was done to each."""
    faults: list[str] = []
    shapes: list[AreaGeometry] = []
    done: list[str] = []
    for number, geometry in enumerate(table.geometry, start=1):
        try:
            shape, notices = mended(geometry or shapely.Polygon())
        except ValueError as error:
            faults.append(f"feature {number} {error}")
            continue
        shapes.append(shape)
        done.append(", ".join(notices))
    if faults:
        raise InputError(f"boundary file {path}: {'; '.join(faults)}; mend or delete them")
    table[table.geometry.name] = gpd.GeoSeries(shapes, index=table.index, crs="EPSG:4326")
    return done


def _named(
    table: gpd.GeoDataFrame,
    path: Path,
    area_id: str,
    id_column: str | None,
    name_column: str | None,
    known: _Known,
    notices: list[str],
) -> gpd.GeoDataFrame:
    """Districts by adm_id with the columns of an area and ``mended``."""
    if table.empty:
        raise InputError(f"boundary file {path}: no districts, only the region; load it as it is")
    names = _texts(table, _column(table, path, name_column, NAME_COLUMNS, "name_column"))
    _check_names(names, path)
    kinds = _texts(table, "kind") if "kind" in table else pd.Series("", index=table.index)
    kinds = kinds.where(kinds != "", names.map(kind_of))
    ids = _ids(table, path, area_id, id_column, names, kinds, known)
    latin = next((column for column in ENGLISH_COLUMNS if column in table), None)
    given = _texts(table, latin) if latin else pd.Series("", index=table.index)
    sketches = table["approximate"].eq(True) if "approximate" in table else False
    rows = gpd.GeoDataFrame(
        {
            "adm_id": ids,
            "name_en": given.where(given != "", names.map(english)),
            "name_ru": names,
            "kind": kinds,
            "oktmo": _texts(table, "oktmo") if "oktmo" in table else "",
            "approximate": sketches,
            "mended": table["mended"],
        },
        geometry=table.geometry,
    )
    return _joined(rows, path, notices)


def _column(
    table: pd.DataFrame, path: Path, asked: str | None, usual: tuple[str, ...], option: str
) -> str:
    by_name = {column.casefold(): column for column in table.columns}
    for candidate in (asked,) if asked else usual:
        if candidate.casefold() in by_name:
            return by_name[candidate.casefold()]
    inner = {"geometry", "mended"}
    found = ", ".join(column for column in table.columns if column not in inner)
    raise InputError(
        f"boundary file {path}: no column {asked or ' or '.join(usual[:3])};"
        f" choose {option} among {found or 'none: it has no columns'}"
    )


def _texts(table: pd.DataFrame, column: str) -> "pd.Series[str]":
    """Column as stripped texts, "" where missing, whole numbers without a decimal point."""
    values = table[column]
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("object").where(values.notna(), "").astype(str).str.strip()


def _check_names(names: "pd.Series[str]", path: Path) -> None:
    missing = [str(number) for number, name in enumerate(names, start=1) if not slug(name)]
    if missing:
        raise InputError(
            f"boundary file {path}: no name in feature {', '.join(missing)};"
            " give another name_column or fill it in"
        )
    # cp1251 read as Latin-1: Cyrillic capitals and small letters turn into accented Latin ones.
    garbled = names.map(lambda name: len(re.findall("[À-ÿ]", name)) > len(name) / 2)
    if garbled.any():
        raise InputError(
            f"boundary file {path}: names like {names[garbled].iloc[0]!r} are in another encoding;"
            " try the encoding cp1251"
        )


def _ids(
    table: pd.DataFrame,
    path: Path,
    area_id: str,
    id_column: str | None,
    names: "pd.Series[str]",
    kinds: "pd.Series[str]",
    known: _Known,
) -> "pd.Series[str]":
    if id_column is not None:
        return _texts(table, _column(table, path, id_column, ID_COLUMNS, "id_column")).str.lower()
    for column in ID_COLUMNS:
        if column not in table:
            continue
        ids = _texts(table, column)
        # Running numbers change with the next edition of the file; names do not.
        if ids.map(is_path_safe).all() and not ids.str.isdecimal().all():
            return ids
    made = [f"{area_id}_{slug(name)}" for name in names]
    made = [adm_id + "_city" * (kind == "city") for adm_id, kind in zip(made, kinds, strict=True)]
    found = [match_name(name, known.names) or own for name, own in zip(names, made, strict=True)]
    return pd.Series(found, index=table.index)


def _joined(rows: gpd.GeoDataFrame, path: Path, notices: list[str]) -> gpd.GeoDataFrame:
    """Join the features of one district; refuse one id under several names."""
    faults, shapes, done = [], [], []
    for adm_id, group in rows.groupby("adm_id", sort=False):
        names = group["name_ru"].unique()
        if len(names) > 1:
            faults.append(f"{adm_id} is {', '.join(map(repr, names))}")
        if len(group) > 1:
            notices.append(f"{len(group)} features joined into {names[0]}")
        shapes.append(polygons_of(shapely.union_all(group.geometry.to_numpy())))
        done.append(", ".join(sorted(set(group["mended"]) - {""})))
    if faults:
        raise InputError(
            f"boundary file {path}: one id for several names: {'; '.join(faults)}; give id_column"
        )
    joined = rows.drop_duplicates("adm_id").set_index("adm_id")
    return joined.set_geometry(shapes, crs="EPSG:4326").assign(mended=done)


def _union(districts: gpd.GeoDataFrame) -> AreaGeometry:
    """Union of the districts without the slits between them."""
    union = shapely.union_all(districts.geometry.to_numpy(), grid_size=1e-7)
    holes = [shapely.Polygon(ring) for part in _polygons(union) for ring in part.interiors]
    slits = [hole for hole, km2 in zip(holes, areas_km2(holes), strict=True) if km2 < SMALLEST_KM2]
    joined = polygons_of(shapely.union_all([union, *slits]))
    # Valid polygons have ground, and so has their union.
    return cast("AreaGeometry", joined)


def _filled(geometry: AreaGeometry) -> AreaGeometry:
    """Polygons without their holes."""
    shells = [shapely.Polygon(part.exterior) for part in _polygons(geometry)]
    return cast("AreaGeometry", polygons_of(shapely.union_all(shells)))


def _polygons(geometry: BaseGeometry | None) -> list[shapely.Polygon]:
    return [] if geometry is None else list(getattr(geometry, "geoms", [geometry]))


def _known(known: str | Path | Area | pd.DataFrame | None) -> _Known:
    if known is None:
        return _Known({}, {})
    if isinstance(known, str | Path):
        path = Path(known)
        known = _read_csv(path) if path.suffix.lower() == ".csv" else load(path)
    if isinstance(known, Area):
        measured = known.districts[~known.districts["approximate"]]
        areas = areas_km2(measured.geometry).tolist()
        return _Known(
            known.districts["name_ru"].to_dict(), dict(zip(measured.index, areas, strict=True))
        )
    missing = {"id", "name_ru"} - set(known.columns)
    if missing:
        raise InputError(
            f"known districts: no column {' and no '.join(sorted(missing))};"
            f" found {', '.join(map(str, known.columns))}"
        )
    ids = known["id"].astype(str).tolist()
    names = dict(zip(ids, known["name_ru"].astype(str), strict=True))
    if "area_km2" not in known:
        return _Known(names, {})
    areas = pd.to_numeric(known["area_km2"], errors="coerce")
    return _Known(names, {adm_id: km2 for adm_id, km2 in zip(ids, areas, strict=True) if km2 > 0})


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table: pd.DataFrame = pd.read_csv(path, sep=None, engine="python", encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"known districts {path}: cannot be read ({first_line(error)})") from error
    return table


def _report(
    path: Path,
    area: Area,
    mending: "pd.Series[str]",
    known: _Known,
    notices: list[str],
    gaps: tuple[Gap, ...],
) -> Report:
    districts = area.districts
    rows, met = [], set()
    for (adm_id, name), km2 in zip(
        districts["name_ru"].items(), areas_km2(districts.geometry).tolist(), strict=True
    ):
        twin = adm_id if adm_id in known.names else match_name(name, known.names)
        met.add(twin)
        known_km2 = None if twin is None else known.km2.get(twin)
        rows.append(DistrictRow(adm_id, name, km2, known_km2, mending[adm_id]))
    absent = [name for adm_id, name in known.names.items() if adm_id not in met]
    if absent:
        notices.append(f"known, but not in the file: {', '.join(absent)}")
    union = shapely.union_all(districts.geometry.to_numpy())
    area_km2, outside = areas_km2([area.outline, union.difference(area.outline)]).tolist()
    if outside >= SMALLEST_KM2:
        notices.append(f"{outside:,.2f} km² of the districts lie outside the region's outline")
    return Report(path.name, area_km2, tuple(rows), _overlaps(districts), gaps, tuple(notices))


def _row_line(row: DistrictRow) -> str:
    line = f"{row.adm_id}: {row.name}, {row.area_km2:,.1f} km²"
    if row.difference is not None:
        line += f", known {row.known_km2:,.1f} ({row.difference:+.1%})"
        if abs(row.difference) > LARGE_DIFFERENCE:
            line += ", look at it"
    if row.mended:
        line += f"; {row.mended}"
    return line


def _overlaps(districts: gpd.GeoDataFrame) -> tuple[Overlap, ...]:
    shapes, names = districts.geometry.to_numpy(), districts["name_ru"].tolist()
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = [(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True) if a < b]
    km2 = areas_km2(shapes[a].intersection(shapes[b]) for a, b in pairs)
    found = [
        Overlap((names[a], names[b]), size)
        for (a, b), size in zip(pairs, km2.tolist(), strict=True)
        if size >= SMALLEST_KM2
    ]
    return tuple(sorted(found, key=lambda overlap: -overlap.area_km2))


def _gaps(whole: AreaGeometry, districts: gpd.GeoDataFrame) -> tuple[Gap, ...]:
    """Pieces of the whole that no district has."""
    shapes, names = districts.geometry.to_numpy(), districts["name_ru"].tolist()
    pieces = _polygons(polygons_of(whole.difference(shapely.union_all(shapes))))
    tree = shapely.STRtree(shapes)
    found = []
    for piece, km2 in zip(pieces, areas_km2(pieces).tolist(), strict=True):
        if km2 >= SMALLEST_KM2:
            near = sorted(tree.query(piece, predicate="dwithin", distance=1e-6).tolist())
            found.append(Gap(tuple(names[index] for index in near), km2))
    return tuple(sorted(found, key=lambda gap: -gap.area_km2))
