"""From files to ids: corpora, treebanks, vocabularies, tasks, made-up languages, streams."""
