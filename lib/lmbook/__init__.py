"""The glue between the chapters, papermill and Jupyter Book; the library never imports it."""
