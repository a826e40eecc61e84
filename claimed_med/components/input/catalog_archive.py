"""Catalogue the headers of an archive as a table."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Location, component
from claimed_med.handles import Report, Table


class CatalogArchiveOutputs(NamedTuple):
    """What catalog_archive returns."""

    catalog: Table
    counts: Report


@component(version="1.0.0", tags=("ingest", "catalogue", "parquet", "spark"), example={"path": "collection"})
def catalog_archive(
    *,
    path: Annotated[str, Location()] = "",
    time_grain: Literal["year", "month", "day"] = "month",
    engine: Literal["local", "spark"] = "local",
) -> CatalogArchiveOutputs:
    """Catalogue the headers of an archive as a table.

    One row a DICOM file, in Parquet, written in chunks: the size of the archive does not matter. Pixels are never read.
    Patients and sites stand in it by keyed hashes, files not at all. Both engines give the same table; with Spark,
    every node must see the archive and hold this package.

    Args:
        path: Folder of DICOM files, any tree.
        time_grain: How exact the date of a study is kept.
        engine: `local` for a pool of processes, `spark` for the cluster that SPARK_MASTER names (without: this machine).

    Returns:
        catalog: sop_uid, series_uid, study_uid, patient_key, modality, scanner, site, study_time, geometry, dose, size.
        counts: Rows by modality, scanner and site, and how many files were left out, by reason.

    Raises:
        InputError: There is no DICOM file.
        MissingDependencyError: Spark is asked for and not installed.
    """
    from pathlib import Path

    from claimed_med import scratch
    from claimed_med.dicom import catalog
    from claimed_med.errors import InputError

    if not path:
        raise InputError("catalog-archive", "no folder was named", do="set --path")
    place = scratch.temporary()
    table = Table(place / Table.file_name)
    scratch.remove_with(table, place)
    counts = catalog.write(Path(path), place / Table.file_name, grain=time_grain, engine=engine)
    return CatalogArchiveOutputs(table, Report(counts))
