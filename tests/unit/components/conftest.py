from __future__ import annotations

import pytest

import claimed_med as cm
from claimed_med.testing import phantoms


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """A function that gives the folder of a phantom, written once."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = phantoms.write(name, tmp_path_factory.mktemp("example") / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def lungs(example):
    """The chest phantom and its lungs."""
    series = cm.DicomSeries(example("chest_ct"))
    return series, cm.segment_lungs(series)


@pytest.fixture(scope="session")
def labels_of():
    """A function that gives the label volume of a segmentation handle, on the grid of its series."""
    from claimed_med.dicom import seg

    def labels(segmentation, series):
        return seg.merge(seg.decode(segmentation.load(), series.load()))

    return labels


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory):
    """Images, split cohort, predictions and bundle of a small classifier of made radiographs."""
    import pandas as pd

    from claimed_med.testing import xrays

    folder = xrays.xrays(tmp_path_factory.mktemp("radiographs"), n_patients=24)
    imported = cm.import_xrays(folder=str(folder / "images"), table=str(folder / "labels.csv"))
    split = cm.split_cohort(cm.make_cohort(imported.images, imported.labels).cohort).split
    bundle = cm.train_classifier(imported.images, split, recipe="xray_small", epochs=3).bundle
    found = [cm.classify_images(one, bundle).predictions.load() for one in imported.images.series()]
    return imported.images, split, cm.Table(pd.concat(found, ignore_index=True)), bundle
