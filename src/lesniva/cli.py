"""The command line: words, messages, exit codes. The commands import heavy libraries late."""

import datetime as dt
import json
import logging
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from lesniva import logs
from lesniva.errors import INTERNAL, PARTIAL, LesnivaError

logger = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Forest alerts and harvest forecasts from Sentinel imagery.\n\n"
        "Exit codes: 0 done; 1 internal error; 2 the command, pipeline or area file is wrong; "
        "3 done in part, the rest is listed; 4 no or not enough data; 5 source unreachable; "
        "6 credentials or quota; 7 disk or environment; 75 another run holds the lock."
    ),
)
aoi_app = typer.Typer(no_args_is_help=True, help="Area files.")
app.add_typer(aoi_app, name="aoi")
assess_app = typer.Typer(no_args_is_help=True, help="Accuracy of forest alerts.")
app.add_typer(assess_app, name="assess")
archive_app = typer.Typer(no_args_is_help=True, help="Local archives of scenes.")
app.add_typer(archive_app, name="archive")
yields_app = typer.Typer(no_args_is_help=True, help="Yield statistics.")
app.add_typer(yields_app, name="yields")

File = Annotated[Path, typer.Argument(help="Pipeline file (TOML).", show_default=False)]
Out = Annotated[
    Path | None, typer.Option(help="Output folder, and the job's memory.", show_default="out/NAME")
]
Scheduler = Annotated[
    str | None,
    typer.Option(help="Dask scheduler, tcp://HOST:PORT; a local cluster when not given."),
]
Folder = Annotated[Path, typer.Argument(help="Output folder of a job.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")]


class LogStyle(Enum):
    """How log lines look."""

    PLAIN = "plain"
    JSON = "json"


Log = Annotated[
    LogStyle | None,
    typer.Option(help="Log lines on stderr: plain, or a JSON object each.", show_default="plain"),
]


def main() -> None:
    """Run the command line; an expected error is one line and its exit code."""
    logs.start(level=_log_level())
    try:
        app()
    except LesnivaError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; the next run goes on from here", 130)
    except Exception as error:
        logger.debug("internal error", exc_info=True)
        _fail(
            f"internal error ({type(error).__name__}: {' '.join(str(error).split())}); "
            "please report it with the output of the same command under LESNIVA_LOG=debug",
            INTERNAL,
        )


def _log_level() -> str:
    return os.environ.get("LESNIVA_LOG", "info")


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"lesniva: {message}", err=True)
    sys.exit(code)


@app.command()
def run(
    file: File,
    out: Out = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
    log: Log = None,
    lang: Annotated[
        Literal["ru", "en"] | None,
        typer.Option(help="Language the report opens in.", show_default="report.language"),
    ] = None,
) -> None:
    """Run the job of a pipeline file; a second run does only what is new."""
    from lesniva import config, pipeline

    if log is not None:
        logs.start(log.value, level=_log_level())
    try:
        job = config.read(file)
        if lang is not None:
            job = config.with_language(job, lang)
        report = pipeline.run(job, out or Path("out") / job.name, scheduler=scheduler)
    except Exception as error:
        if as_json:
            code = error.exit_code if isinstance(error, LesnivaError) else INTERNAL
            _tell_json({"outcome": "failed", "exit_code": code, "error": str(error)})
        raise
    _tell(report, as_json=as_json)
    raise typer.Exit(report.exit_code)


@app.command()
def status(folder: Folder, as_json: Json = False) -> None:
    """Say how a job stands: last run, lag behind the newest scene, what failed, disk."""
    from lesniva import pipeline

    standing = pipeline.status(folder)
    _tell(standing, as_json=as_json)
    raise typer.Exit(standing.exit_code)


@app.command()
def rollback(
    folder: Folder,
    to: Annotated[str, typer.Option(help="Run to return to; `status` lists those kept.")],
) -> None:
    """Return a forest job to the state that a run left; the next run goes on from there."""
    from lesniva import pipeline

    pipeline.roll_back(folder, to)
    typer.echo(f"{folder}: back at {to}; run the job to publish from there")


@app.command()
def doctor(
    folder: Annotated[Path, typer.Option("--dir", help="Where output folders are to be.")] = Path(
        "out"
    ),
) -> None:
    """Look at this machine: versions, PROJ data, disk, write test, credentials (never shown)."""
    from lesniva import pipeline
    from lesniva.errors import EnvironmentFaultError

    checkup = pipeline.doctor(folder)
    for line in checkup.lines:
        typer.echo(line)
    if checkup.faults:
        raise EnvironmentFaultError("; ".join(checkup.faults))


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Pipeline files.")]) -> None:
    """Check pipeline files and the files they name; no network, no pixels."""
    from lesniva import config, pipeline

    faults = []
    for file in files:
        try:
            pipeline.check(config.read(file))
            typer.echo(f"{file}: fine")
        except LesnivaError as error:
            faults.append(error)
            typer.echo(f"lesniva: {error}", err=True)
    if faults:
        raise typer.Exit(max(fault.exit_code for fault in faults))


@app.command()
def plan(file: File) -> None:
    """Say what a run would do: scenes, grids, blocks, bytes, time. Reads no pixel."""
    from lesniva import config, pipeline

    for line in pipeline.plan(config.read(file)):
        typer.echo(line)


@app.command()
def pull(
    file: File,
    max_gb: Annotated[float | None, typer.Option(help="Largest size of the archive.")] = None,
) -> None:
    """Bring what a job needs into its local archive (source.archive); only what is missing."""
    from lesniva import config, pipeline

    typer.echo(pipeline.pull(config.read(file), max_gb=max_gb))


@app.command()
def zonal(
    file: Annotated[Path, typer.Argument(help="Area file whose districts are the zones.")],
    start: Annotated[dt.datetime, typer.Option(help="First day.", formats=["%Y-%m-%d"])],
    end: Annotated[dt.datetime, typer.Option(help="Last day.", formats=["%Y-%m-%d"])],
    max_units: Annotated[float, typer.Option(help="Most processing units to spend; 0 only asks.")],
    out: Annotated[Path, typer.Option(help="CSV file to write.")] = Path("zonal_ndvi.csv"),
    interval: Annotated[int, typer.Option(min=1, help="Days averaged together.")] = 10,
    service: Annotated[
        str, typer.Option(help="cdse, sentinel-hub, or the address of another deployment.")
    ] = "cdse",
    token_url: Annotated[
        str | None, typer.Option(help="Where another deployment gives out tokens.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="Profile of the package sentinelhub.")] = None,
) -> None:
    """Ask the Statistical API for the NDVI of fields or districts: few units, no imagery."""
    from lesniva.pipeline import zones as zonal
    from lesniva.sources import sentinelhub

    zones = zonal.zones_of(file, start=start.date(), end=end.date(), interval_days=interval)
    typer.echo(f"{len(zones.area.districts)} zones: about {zones.units:.1f} processing units")
    if not max_units:
        return
    account = sentinelhub.account(service, token_url=token_url, profile=profile)
    failed = zonal.zonal_ndvi(zones, account, out, max_units=max_units)
    for one in failed:
        typer.echo(f"not done: {one.where}: {one.why}", err=True)
    typer.echo(f"written: {out}")
    if failed:
        raise typer.Exit(PARTIAL)


@app.command()
def schema() -> None:
    """Print the JSON schema of the pipeline file, for editors."""
    from lesniva import config

    typer.echo(json.dumps(config.schema(), indent=2, ensure_ascii=False))


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="Output folder of a run.")]) -> None:
    """Compare an output folder with its manifest."""
    from lesniva import publish
    from lesniva.errors import EnvironmentFaultError

    faults = publish.verify(folder)
    if faults:
        raise EnvironmentFaultError(
            f"{folder} is not whole: {'; '.join(faults)}; run the job again to publish it anew"
        )
    typer.echo(f"{folder}: whole")


@app.command()
def serve(
    folder: Annotated[
        Path, typer.Argument(help="Output folder of a run, or one that holds several.")
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8765,
) -> None:
    """Show reports, files and map tiles of a folder on this machine only, until Ctrl-C."""
    from lesniva.publish.serve import serve as serve_folder

    def ready(address: str) -> None:
        typer.echo(f"serving {folder} at {address} (Ctrl-C ends it)")

    serve_folder(folder, port=port, ready=ready)


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    postgis: Annotated[
        str | None,
        typer.Option(
            envvar="LESNIVA_POSTGIS",
            help="Connection string of the database; better kept in the environment.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Mirror the whole folder to s3://BUCKET/PATH, its manifest last."),
    ] = None,
) -> None:
    """Bring results into PostGIS (rows change by their id) or an object store; twice is once."""
    from lesniva import publish as publishing
    from lesniva.errors import InputError

    if to is None and postgis is None:
        raise InputError("publish where? give --postgis (or LESNIVA_POSTGIS), or --to s3://…")
    if to is not None:
        _tell_mirrored(to, publishing.upload(folder, to))
        return
    for table, rows in publishing.publish_folder(folder, str(postgis)).items():
        typer.echo(f"{table}: {rows} rows")


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="Where archive/ and out/ go.", show_default="here")
    ] = Path(),
    scheduler: Scheduler = None,
) -> None:
    """Forest alerts and a harvest forecast on the embedded synthetic archive."""
    from lesniva import demo as demonstration

    for line in demonstration.run(folder, scheduler=scheduler):
        typer.echo(line)


@aoi_app.command("import")
def aoi_import(
    source: Annotated[Path, typer.Argument(help="GeoJSON, GeoPackage or Shapefile, any CRS.")],
    out: Annotated[Path, typer.Option(help="Area file to write (.geojson).")],
    layer: Annotated[str | None, typer.Option(help="Layer, where the file has several.")] = None,
    id: Annotated[str | None, typer.Option(help="Id of the area; from the file name.")] = None,  # noqa: A002 the word users type
    name_en: Annotated[str | None, typer.Option(help="Name of the area.")] = None,
    name_ru: Annotated[str | None, typer.Option(help="The same in Russian.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column with district ids.")] = None,
    name_column: Annotated[str | None, typer.Option(help="Column with district names.")] = None,
    known: Annotated[
        Path | None,
        typer.Option(help="Known names, ids and areas: an area file or a CSV table."),
    ] = None,
    credit: Annotated[str | None, typer.Option(help="Source and licence to keep.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of an old Shapefile's texts.")] = None,
) -> None:
    """Turn a boundary file into a checked area file, and report on it."""
    from lesniva import aoi

    area, report = aoi.import_boundaries(
        source,
        layer=layer,
        encoding=encoding,
        id=id,
        name_en=name_en,
        name_ru=name_ru,
        id_column=id_column,
        name_column=name_column,
        known=known,
        credit=credit,
    )
    aoi.save(area, out)
    for line in report.lines():
        typer.echo(line)
    typer.echo(f"written: {out}")


@archive_app.command("index")
def archive_index(
    folder: Annotated[Path, typer.Argument(help="Holds SAFE folders, zips of them, band files.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Item collection to write.", show_default="FOLDER/items.json"),
    ] = None,
) -> None:
    """Index a folder of downloaded scenes, so that kind = "catalog" reads it; unpacks nothing."""
    from lesniva.sources import archive, catalog

    broken: list[Any] = []
    items = archive.index(folder, out=out, on_skipped=broken.append)
    for one in broken:
        typer.echo(f"left out {one.where}: {one.why}", err=True)
    first, last = items[0].datetime, items[-1].datetime
    typer.echo(
        f"{out or folder / catalog.INDEX}: {len(items)} scenes from {first:%Y-%m-%d} to "
        f"{last:%Y-%m-%d}, {len(broken)} left out"
    )
    if broken:
        raise typer.Exit(PARTIAL)


@archive_app.command("verify")
def archive_verify(
    folder: Annotated[Path, typer.Argument(help="Local archive (source.archive).")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Put damage aside, so that it is fetched again.")
    ] = False,
) -> None:
    """Compare the files of a local archive with their checksums."""
    from lesniva.sources import store

    damaged = [one for part in _parts(folder) for one in store.verify(part, repair=repair)]
    for one in damaged:
        typer.echo(f"damaged: {one.where}: {one.why}", err=True)
    typer.echo(f"{folder}: {f'{len(damaged)} scenes are damaged' if damaged else 'whole'}")
    if damaged and not repair:
        raise typer.Exit(PARTIAL)


@archive_app.command("upload")
def archive_upload(
    folder: Annotated[Path, typer.Argument(help="Local archive (source.archive).")],
    to: Annotated[str, typer.Argument(help="s3://BUCKET/PATH")],
) -> None:
    """Mirror a local archive into an object store, where kind = "catalog" reads it."""
    from lesniva.sources import store

    for part in _parts(folder):
        target = f"{to.rstrip('/')}/{part.relative_to(folder).as_posix()}".removesuffix("/.")
        _tell_mirrored(target, store.upload(part, target))


@yields_app.command("import")
def yields_import(
    files: Annotated[list[Path], typer.Argument(help="Tables of Rosstat, text or CSV.")],
    area: Annotated[Path, typer.Option(help="Area file; its districts are matched by name.")],
    out: Annotated[Path, typer.Option(help="Table to write (.csv or .parquet).")],
    crop: Annotated[str | None, typer.Option(help="Crop of a table that names none.")] = None,
    region: Annotated[
        str | None, typer.Option(help="Region to take, where there are more.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the tables: c/ha or t/ha.")] = "c/ha",
    weight_basis: Annotated[
        str | None, typer.Option(help="bunker or after_processing; what the text says.")
    ] = None,
) -> None:
    """Turn yield tables as people have them into the checked one a harvest job reads."""
    from lesniva import pipeline, yields

    found = pipeline.import_yields(
        files, area=area, crop=crop, region=region, unit=unit, weight_basis=weight_basis
    )
    report = out.with_name(f"{out.stem}.report.csv")
    yields.write(found.report, report)
    yields.write(found.yields, out)
    for line in found.lines():
        typer.echo(line)
    typer.echo(f"written: {out}, with the report of every series in {report}")


@assess_app.command("design")
def assess_design(
    out: Annotated[Path, typer.Argument(help="Output folder of a forest job.")],
    sample: Annotated[Path, typer.Option(help="GeoPackage to write.")] = Path("sample.gpkg"),
    standard_error: Annotated[
        float, typer.Option(min=0.001, max=0.2, help="Wanted for the overall accuracy.")
    ] = 0.01,
    least: Annotated[int, typer.Option(min=2, help="Fewest units in a stratum.")] = 75,
    seed: Annotated[int, typer.Option(help="The same seed draws the same units.")] = 1,
) -> None:
    """Draw a stratified random sample over the results, to be interpreted in QGIS."""
    from lesniva import pipeline

    drawn = pipeline.design(out, sample, standard_error=standard_error, least=least, seed=seed)
    for line in drawn:
        typer.echo(line)


@assess_app.command("evaluate")
def assess_evaluate(
    sample: Annotated[Path, typer.Argument(help="The interpreted GeoPackage.")],
    events: Annotated[
        Path | None, typer.Option(help="Polygons of known changes: share found by size.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder, with --events.")] = None,
) -> None:
    """Accuracies, areas with confidence intervals and delays from an interpreted sample."""
    from lesniva import pipeline

    for line in pipeline.evaluate(sample, events=events, out=out):
        typer.echo(line)


def _parts(archive: Path) -> list[Path]:
    """Folders of a local archive, one an area."""
    from lesniva.errors import InputError
    from lesniva.sources import store

    parts = sorted(catalog.parent for catalog in archive.rglob(store.CATALOG))
    if not parts:
        raise InputError(f"{archive} holds no local archive; give what source.archive names")
    return parts


def _tell_mirrored(where: str, done: Any) -> None:
    typer.echo(
        f"{where}: {done.sent} files sent ({done.bytes / 1e6:.1f} MB), {done.known} were there, "
        f"{done.removed} removed"
    )


def _tell(report: Any, *, as_json: bool) -> None:
    """Say what a run did, or how a job stands: in plain words, or as one JSON object."""
    if as_json:
        _tell_json(report.told())
        return
    for line in report.lines():
        typer.echo(line)


def _tell_json(told: dict[str, Any]) -> None:
    typer.echo(json.dumps(told, ensure_ascii=False, allow_nan=False, default=str))
