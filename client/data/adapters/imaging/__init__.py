"""Read images: pictures, DICOM and NIfTI files, as pixels and geometry, and nothing else of their headers."""
