"""The experiments of this book: a folder for each chapter of the thesis."""

from lmdynamics.ground import provenance

provenance.track(__name__)
