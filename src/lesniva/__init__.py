"""Lesniva: forest alerts and harvest forecasts for oblasts, from Sentinel imagery.

The house, from the door to the cellar. A module imports what stands below its own line, never what
stands beside or above it (import-linter holds it to that)::

    cli                 the command line: words, messages, exit codes
    demo                both journeys on the embedded archive, held against its known truth
    pipeline            the journeys, a page each: monitor_forest, forecast_harvest, composite
    tasks               what is done to one block: the work of a Dask task, stages joined
    ─────────────────── the stages: functions on labelled data, each alone
    config              what a pipeline file may ask
    aoi                 area file → outline, districts, working grids, blocks
    sources             where scenes are: every source ends as STAC items with readable files
    cube                items + block → solar days, harmonised reflectance
    masks               clear sky, season, forest, cropland (True = usable, or is that cover)
    indices             NDVI, NBR, NDMI …: formula, bands and reference of each
    composites          one value a pixel and period
    change              history model, scene correction, detectors, monitor state
    assess              a sample to interpret, and what it says of the alerts' accuracy
    alerts              changed pixels → polygons with an identity that lasts, and their cause
    zonal               exact sums over districts
    weather             daily weather of districts: read, checked, completed
    features            observations and weather → a row per district, crop, year, cut-off
    yields              yield statistics as people have them → one checked table
    forecast            LightGBM beside plain baselines: hindcast, fit, predict, explain
    publish             COG, vector, STAC, QGIS style, manifest
    synthetic           Sentinel-2 look-alikes whose truth is known
    ledger              what has been done, and the state it led to: one transaction a run
    execution           blocks as Dask tasks
    notify              a command or a webhook told of new alerts
    ───────────────────
    storage, progress   files that are whole or not there; bars and log lines
    logs                the log on stderr, plain or JSON, with run and block
    conventions         names, types, units and flags of everything that flows
    errors              what can go wrong, and who can mend it

Importing ``lesniva`` imports none of them; take what you need::

    from lesniva import aoi, cube, indices, masks, sources

The names a room offers are in its ``__all__`` or are its public functions. ``docs/architecture.md``
tells how data passes through the house.
"""
