"""Performance, fairness, explanation, robustness: arrays and tables in, numbers with intervals out. Knows no DICOM."""
