"""What a pipeline file may ask.

A pipeline file is TOML, and it is the record of a job: every key is named here, unknown keys and
wrong types are refused, all faults at once. Paths in it are relative to the file. The docstrings
below are the descriptions that editors show (`schema`).
"""

import datetime as dt
import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from lesniva.errors import InputError


def _from_file(path: Path, info: pydantic.ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path())
    # absolute, as a worker of a cluster may stand in another folder
    return Path(os.path.abspath(Path(folder, path.expanduser())))  # noqa: PTH100 links stay


def _address_from_file(href: str, info: pydantic.ValidationInfo) -> str:
    return href if "://" in href else str(_from_file(Path(href), info))


RelativePath = Annotated[Path, AfterValidator(_from_file)]
"""A path, relative to the pipeline file."""

Address = Annotated[str, AfterValidator(_address_from_file)]
"""A URL, or a path relative to the pipeline file."""

Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Season = Annotated[int, Field(ge=2015, le=2100)]


class Section(BaseModel):
    """A table of the pipeline file."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class AreaSection(Section):
    """Where."""

    file: RelativePath
    """Area file (GeoJSON with the outline and, where there are, the districts)."""
    clip: tuple[float, float, float, float] | None = None
    """Only a part of it: west, south, east, north in degrees."""


class Filters(Section):
    """Which scenes of a source are wanted."""

    max_cloud: Percent | None = None
    """Largest cloud cover of a scene, per cent."""
    tiles: list[str] | None = None
    """Only these MGRS tiles."""
    months: list[Annotated[int, Field(ge=1, le=12)]] | None = None
    """Only these months."""
    relative_orbit: list[Annotated[int, Field(ge=1, le=143)]] | None = None
    """Only these relative orbits."""


class CatalogSource(Filters):
    """A static STAC catalog or item collection, on disk, over https or in an S3 bucket."""

    kind: Literal["catalog"]
    href: Address
    """catalog.json, an item collection, their address, or the folder that holds them."""
    hosts: list[str] = []
    """Hosts and S3 buckets that files may come from, besides the source's own and known ones."""
    archive: RelativePath | None = None
    """Local archive: what the job needs is mirrored there first, and read from there."""
    max_gb: Annotated[float, Field(gt=0)] | None = None
    """Largest size of the local archive, 10⁹ bytes."""


class StacSource(Filters):
    """A STAC API; no account is needed for Earth Search and Planetary Computer."""

    kind: Literal["stac"]
    href: str = "earth-search"
    """earth-search, planetary-computer, cdse, or the address of another API."""
    collection: str = "sentinel-2-l2a"
    """Collection to search."""
    hosts: list[str] = []
    """Hosts and S3 buckets that files may come from, besides the source's own and known ones."""
    archive: RelativePath | None = None
    """Local archive: what the job needs is mirrored there first, and read from there."""
    max_gb: Annotated[float, Field(gt=0)] | None = None
    """Largest size of the local archive, 10⁹ bytes."""


class SentinelHubSource(Filters):
    """Sentinel Hub or the Copernicus Data Space Ecosystem (CDSE); needs an account.

    Credentials come from SH_CLIENT_ID and SH_CLIENT_SECRET in the environment, or from a profile of
    the package sentinelhub; they have no place in a pipeline file.
    """

    kind: Literal["sentinelhub"]
    service: str = "cdse"
    """cdse, sentinel-hub, or the address of another deployment."""
    token_url: str | None = None
    """Where another deployment gives out tokens."""
    profile: str | None = None
    """Profile of the configuration file of the package sentinelhub."""
    archive: RelativePath
    """Local archive that scenes are pulled into; only what is missing is asked for."""
    max_units: Annotated[float, Field(gt=0)]
    """Most processing units that a run may spend; nothing is asked for when it would take more."""
    max_gb: Annotated[float, Field(gt=0)] | None = None
    """Largest size of the local archive, 10⁹ bytes."""


Source = Annotated[CatalogSource | StacSource | SentinelHubSource, Field(discriminator="kind")]


class PeriodSection(Section):
    """When."""

    start: dt.date
    """First day."""
    end: dt.date
    """Last day (today is fine: what is not there yet comes with a later run)."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}: swap them")
        return self


class GridSection(Section):
    """The pixels to work on; results do not depend on the block size."""

    resolution: Annotated[float, Field(gt=0)] = 20.0
    """Edge of a pixel, metres."""
    block: Annotated[int, Field(ge=16, le=4096)] = 512
    """Pixels along the edge of a block, the unit of work and of memory."""
    crs: str | None = None
    """One projected CRS such as "EPSG:3035"; the UTM zones of the area when not given."""
    anchor: tuple[float, float] | None = None
    """x and y of any pixel corner, for data that lie off the whole multiples of the resolution."""


class CloudSection(Section):
    """What counts as cloudy, besides what the scene classification says."""

    guard_m: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Metres around clouds and their shadows that are not used either, such as 60."""


class ForestSection(Section):
    """Which pixels are forest."""

    cover: RelativePath | None = None
    """Raster of tree cover, per cent; without one all that was green through the history counts."""
    min_cover: Percent = 30.0
    """Least tree cover of a forest pixel."""


class MonitorSection(Section):
    """How change is told from the history."""

    history_end: dt.date
    """Last day of the stable history; what comes after is monitored."""
    index: Literal["auto", "nbr", "ndvi", "ndmi", "ndre"] = "auto"
    """Index to watch; auto takes NBR or, where its bands are missing, NDVI. NDVI and NDMI bear
    witness to each other where the bands of both are there: a change is what both see."""
    health: bool = False
    """Also watch the health of the forest, by NDRE, and by CRSWIR in conifers or NDMI elsewhere:
    for dieback that takes little of the canopy. Fits and updates take about three times as long."""
    profile: Literal["early", "standard", "strict"] = "standard"
    """How sure an alert must be."""
    season: (
        tuple[Annotated[int, Field(ge=1, le=366)], Annotated[int, Field(ge=1, le=366)]] | None
    ) = None
    """First and last day of the year that count. When not given the scenes tell: the season begins
    when snow has left the open land for ten days, and ends when it comes back in autumn; where no
    open land is seen it lasts from 25 April (115) to 27 October (300)."""

    @model_validator(mode="after")
    def _health_beside_removal(self) -> Self:
        if self.health and self.index in ("ndmi", "ndre"):
            raise ValueError(
                f'health watches {self.index} already: leave index = "auto", or take "nbr" or '
                '"ndvi" beside it'
            )
        return self

    @model_validator(mode="after")
    def _season_in_order(self) -> Self:
        first, last = self.season or (1, 366)
        if first > last:
            raise ValueError(f"season {first} – {last} ends before it begins: swap the days")
        return self


class VectorFile(Section):
    """A file of polygons that a user brings."""

    file: RelativePath
    """GeoJSON, GeoPackage or Shapefile, any CRS."""
    layer: str | None = None
    """Layer to read, where the file has several."""
    encoding: str | None = None
    """Encoding of an old Shapefile's texts, such as "cp1251"."""
    id_column: str
    """Column with the ids."""


class UnitSection(VectorFile):
    """A layer of units, such as forest compartments: each alert gets the one with most of it."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    """Name of the layer; the columns of the alerts are named after it."""
    name_column: str | None = None
    """Column with the names; the ids when not given."""


class PermitSection(VectorFile):
    """Felling permits."""

    start_column: str | None = None
    """Column with the first day of validity; always valid when not given."""
    end_column: str | None = None
    """Column with the last day of validity."""


class AlertSection(Section):
    """What becomes an alert, and what is said of it."""

    min_area_ha: Annotated[float, Field(gt=0)] = 0.2
    """Minimum mapping unit, hectares."""
    storms: list[dt.date] = []
    """Days of storms: changes of that time are likelier windthrow."""
    hotspots: RelativePath | None = None
    """Fires detected from space (points, such as FIRMS; column acq_date where there is one)."""
    units: list[UnitSection] = []
    """Layers of units that alerts are told by."""
    permits: PermitSection | None = None
    """Felling permits, for the column inside_permit."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [unit.name for unit in self.units]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"units: {', '.join(twice)} is there twice; give each another name")
        return self


class NotifySection(Section):
    """Who is told of alerts. A run never waits for it: the message goes out when all is done."""

    command: Annotated[list[str], Field(min_length=1)] | None = None
    """Program with its arguments; gets the message as JSON on its standard input."""
    webhook_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable with the address that the message is posted to (it is a secret)."""
    events: Annotated[list[Literal["new", "promoted", "grown"]], Field(min_length=1)] = [
        "new",
        "promoted",
    ]
    """What is worth a message."""


class ReportSection(Section):
    """The page of a run."""

    language: Literal["ru", "en"] = "ru"
    """Language that the page opens in; a switch in it gives the other."""


class ForestReportSection(ReportSection):
    """The page of a forest run."""

    close_ups: Annotated[int, Field(ge=0, le=500)] = 40
    """Alerts that get pictures and charts, the newest and largest: their pixels are read again."""


class CroplandSection(Section):
    """Which pixels are cropland."""

    mask: RelativePath | None = None
    """Raster of classes (WorldCereal, own)."""
    values: list[int] = [1, 100]
    """Classes of the raster that are cropland (WorldCereal: 100)."""
    parcels: RelativePath | None = None
    """Polygons of the fields, instead of a raster."""
    made_of: Season | None = None
    """Last season that a map was made from: hindcasts are judged on later seasons only."""
    seasons: list[Season] | None = None
    """Without a map: seasons whose NDVI shows what is tilled; the first three when not given.
    Hindcasts are judged on later seasons only, so that no test season knows its own mask."""

    @model_validator(mode="after")
    def _one_map(self) -> Self:
        if self.mask and self.parcels:
            raise ValueError("mask and parcels are given: choose one")
        return self


Dekad = Annotated[int, Field(ge=1, le=36)]
IssueDay = Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]


class CalendarSection(Section):
    """Dekads of the year (1 to 36) that differ from the calendar of the region."""

    first_issue: Dekad | None = None
    """First dekad at whose end a forecast is issued."""
    last_issue: Dekad | None = None
    """Last dekad at whose end a forecast is issued."""
    harvest_start: Dekad | None = None
    """Dekad in which the harvest begins."""
    harvest_end: Dekad | None = None
    """Dekad in which it ends."""


class CropSection(Section):
    """A crop to forecast."""

    cover: Literal["winter", "summer", "cropland"] | None = None
    """Pixels to look at: green early (winter), green later (summer), or all cropland."""
    mask: RelativePath | None = None
    """Raster of crop types to look at instead."""
    values: list[int] = [1, 100]
    """Classes of that raster that are this crop (WorldCereal: 100)."""
    parcels: RelativePath | None = None
    """Polygons of the fields of this crop to look at instead."""
    made_of: Season | None = None
    """Last season that the map was made from: hindcasts are judged on later seasons only."""
    calendar: CalendarSection = CalendarSection()

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("cover", "mask", "parcels") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"{' and '.join(given) or 'none of cover, mask and parcels'} given: give one"
            )
        return self


class HarvestSection(Section):
    """What to forecast."""

    year: Season
    """Harvest year of the forecast."""
    cutoff: dt.date | Literal["latest"] = "latest"
    """Issue date: nothing later is used. The same day of earlier years makes the training rows.
    latest is the end of the last dekad that is over, inside the period."""
    issue_days: list[IssueDay] | Literal["season", "cutoff"] = "season"
    """Days (month-day) at which forecasts are made and judged: those of the crop's calendar
    (season), only the cut-off, or a list."""
    yields: RelativePath
    """Yield statistics: CSV with adm_id, crop, year, yield_t_ha, area_ha, weight_basis."""
    yield_lag: Annotated[int, Field(ge=1, le=5)] = 1
    """Years until yields are published: 1 when last year's are known at the cut-off, 2 when not."""
    region: Literal["central_chernozem", "non_chernozem", "volga", "urals_siberia", "south"] = (
        "central_chernozem"
    )
    """Whose crop calendar."""
    soil: dict[Slug, RelativePath] = {}
    """Rasters of the soil by a name, such as awc or humus: the mean of each district is a
    predictor."""
    crops: dict[Slug, CropSection]
    """Crops by the name they have in the statistics."""

    @model_validator(mode="after")
    def _in_season(self) -> Self:
        first, last = dt.date(self.year, 1, 1), dt.date(self.year, 12, 31)
        if self.cutoff != "latest" and not first <= self.cutoff <= last:
            raise ValueError(f"cutoff {self.cutoff} is not in the harvest year {self.year}")
        if not self.crops:
            raise ValueError("crops is empty: name at least one, such as [harvest.crops.barley]")
        return self


class WeatherSection(Section):
    """Daily weather, besides the imagery."""

    source: Literal["file", "nasa-power", "era5-land"]
    """A file of the user; NASA POWER (no account); ERA5-Land by the Climate Data Store, whose
    token is taken from CDSAPI_KEY in the environment."""
    file: RelativePath | None = None
    """CSV, Parquet, NetCDF or Zarr with adm_id or a grid, date, and any of tmin, tmax, tmean,
    prec, et0, soil_moisture, snow_depth."""
    url: str | None = None
    """Address of another deployment of the service."""

    @model_validator(mode="after")
    def _file_or_service(self) -> Self:
        if (self.source == "file") != (self.file is not None):
            raise ValueError('file belongs to source = "file", and is needed there')
        return self


class FieldsSection(Section):
    """Which fields to look at."""

    file: RelativePath
    """Parcels: GeoPackage, GeoJSON, Shapefile or GeoParquet of polygons, any CRS."""
    id_column: str = "id"
    """Column with the id of a parcel."""
    year: Season
    """Harvest year to tell about; earlier ones make the normal."""
    cutoff: dt.date | Literal["latest"] = "latest"
    """Nothing later is used. latest is the end of the last dekad that is over."""
    zones: Annotated[int, Field(ge=2, le=5)] = 3
    """Zones of relative productivity in a field."""
    yields: RelativePath | None = None
    """Yields of these fields, with their ids as adm_id: without them no yield is forecast."""
    crop: Slug | None = None
    """Crop of those yields to forecast."""

    @model_validator(mode="after")
    def _crop_of_yields(self) -> Self:
        if (self.yields is None) != (self.crop is None):
            raise ValueError("yields and crop belong together: give both or neither")
        return self


class CompositeSection(Section):
    """What to put together."""

    index: Annotated[
        list[Literal["ndvi", "nbr", "ndmi", "ndre", "evi", "evi2", "crswir"]], Field(min_length=1)
    ] = ["ndvi"]
    """Indices."""
    period: Literal["day", "dekad", "month", "season", "all"] = "dekad"
    """One raster for each."""
    statistic: Literal["median", "max", "mean"] = "median"
    """How the clear observations of a pixel become one value."""
    since: dt.date | None = None
    """First day whose period is published; earlier ones then serve as normal only."""
    anomaly: bool = False
    """Also the departure from the mean of the same period in the earlier years of the job."""
    min_years: Annotated[int, Field(ge=1)] = 3
    """Fewest earlier years in which a pixel must have a value for its anomaly."""
    netcdf: bool = False
    """Also one NetCDF file an index, with time as a dimension, by the CF conventions."""
    zarr: bool = False
    """Also the same as a Zarr store in one zip file."""

    @model_validator(mode="after")
    def _anomaly_has_years(self) -> Self:
        if self.anomaly and self.period not in ("dekad", "month", "season"):
            raise ValueError(
                f'anomaly needs the period "dekad", "month" or "season", not "{self.period}": '
                "only those come again every year"
            )
        return self


class Pipeline(Section):
    """What every pipeline file has."""

    name: Slug = "job"
    """Name of the job and of its output folder; the name of the file when not given."""
    area: AreaSection
    source: Source
    period: PeriodSection
    grid: GridSection = GridSection()
    clouds: CloudSection = CloudSection()


class ForestPipeline(Pipeline):
    """Forest alerts."""

    journey: Literal["forest"]
    forest: ForestSection = ForestSection()
    monitor: MonitorSection
    alerts: AlertSection = AlertSection()
    notify: NotifySection = NotifySection()
    report: ForestReportSection = ForestReportSection()

    @model_validator(mode="after")
    def _has_history(self) -> Self:
        if not self.period.start < self.monitor.history_end < self.period.end:
            raise ValueError(
                f"monitor.history_end {self.monitor.history_end} must lie inside the period "
                f"{self.period.start} – {self.period.end}"
            )
        return self


class HarvestPipeline(Pipeline):
    """A harvest forecast."""

    journey: Literal["harvest"]
    harvest: HarvestSection
    cropland: CroplandSection = CroplandSection()
    weather: WeatherSection | None = None
    report: ReportSection = ReportSection()


class FieldsPipeline(Pipeline):
    """Fields of an agronomist."""

    journey: Literal["fields"]
    fields: FieldsSection


class CompositePipeline(Pipeline):
    """Composites of an index."""

    journey: Literal["composite"]
    composite: CompositeSection = CompositeSection()


JOURNEYS: Mapping[str, type[Pipeline]] = {
    "forest": ForestPipeline,
    "harvest": HarvestPipeline,
    "fields": FieldsPipeline,
    "composite": CompositePipeline,
}
SOURCES: Mapping[str, type[Filters]] = {
    "catalog": CatalogSource,
    "stac": StacSource,
    "sentinelhub": SentinelHubSource,
}

AnyPipeline = ForestPipeline | HarvestPipeline | FieldsPipeline | CompositePipeline

_PIPELINES: TypeAdapter[AnyPipeline] = TypeAdapter(
    Annotated[AnyPipeline, Field(discriminator="journey")]
)


def read(path: Path) -> AnyPipeline:
    """Read and check a pipeline file. Opens nothing that it names.

    Parameters
    ----------
    path
        TOML file.

    Returns
    -------
    ForestPipeline, HarvestPipeline, FieldsPipeline or CompositePipeline

    Raises
    ------
    InputError
        The file is missing, no TOML, or asks for what there is not; the message has every fault
        with the path of its key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows write a mark in front
    except OSError as error:
        raise InputError(f"pipeline file {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"pipeline file {path} is not UTF-8 text") from error
    try:
        asked = {"name": path.stem, **tomllib.loads(text)}
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"pipeline file {path} is no TOML: {error}") from error
    try:
        # strict JSON mode: "20" is no number, but a date may be text
        return _PIPELINES.validate_json(
            json.dumps(asked, default=str), context={"folder": path.parent}
        )
    except pydantic.ValidationError as error:
        faults = [_fault(detail) for detail in error.errors()]
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InputError(f"pipeline file {path} has {count}: {'; '.join(faults)}") from error


def from_record(record: Mapping[str, Any]) -> AnyPipeline:
    """Pipeline file as ``run.json`` keeps it.

    Raises
    ------
    InputError
        It is none that this version knows.
    """
    try:
        return _PIPELINES.validate_json(json.dumps(dict(record)))
    except pydantic.ValidationError as error:
        raise InputError(
            f"the recorded settings of {record.get('name')} are not of this version: run the job"
        ) from error


def with_language(job: AnyPipeline, language: Literal["ru", "en"]) -> AnyPipeline:
    """Let the report page of a job open in a language.

    Raises
    ------
    InputError
        The journey has no report page.
    """
    if isinstance(job, CompositePipeline | FieldsPipeline):
        raise InputError(
            f"--lang {language}: journey {job.journey} has no report page; leave it out"
        )
    report = job.report.model_copy(update={"language": language})
    return job.model_copy(update={"report": report})


def schema() -> dict[str, Any]:
    """JSON schema of the pipeline file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lesniva pipeline file",
        **_PIPELINES.json_schema(),
    }


def _fault(detail: Mapping[str, Any]) -> str:
    """One fault in words: where, what was found, what is accepted."""
    # unions put the tag they were resolved to into the location: no key of the file
    steps = [str(step) for step in detail["loc"][1:]]
    if steps[:1] == ["source"] and len(steps) > 1:
        del steps[1]
    where = ".".join(steps)
    kind, found = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key{_did_you_mean(detail['loc'])}"
    if kind == "missing":
        return f"{where}: missing"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _wrong_tag(where, found)
    message = str(detail["msg"]).removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        message = "may hold Latin letters, digits, - and _, at most 64"
    if kind == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {message[0].lower()}{message[1:]} (found {found!r})"


def _wrong_tag(where: str, found: Any) -> str:
    key, accepted = ("source.kind", SOURCES) if where == "source" else ("journey", JOURNEYS)
    words = ", ".join(f'"{word}"' for word in accepted)
    value = found.get(key.rpartition(".")[2]) if isinstance(found, dict) else None
    return f"{key}: missing; use {words}" if value is None else f"{key}: {value!r}; use {words}"


def _did_you_mean(location: tuple[str | int, ...]) -> str:
    siblings = _keys_at(location[:-1])
    close = difflib.get_close_matches(str(location[-1]), siblings, n=1)
    if close:
        return f", did you mean {close[0]}?"
    return f" (accepted here: {', '.join(siblings)})" if siblings else ""


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    """Keys that the table at a location accepts."""
    table: Any = JOURNEYS.get(str(location[0])) if location else None
    for step in location[1:]:
        if step in SOURCES:
            table = SOURCES[str(step)]
        elif get_origin(table) is dict:
            table = get_args(table)[1]
        elif get_origin(table) is list:
            table = get_args(table)[0]
        elif hasattr(table, "model_fields") and step in table.model_fields:
            table = table.model_fields[step].annotation
        else:
            return []
    return list(getattr(table, "model_fields", []))
