"""One file per empirical chapter: settings and seeds in, a tidy table out."""
