"""Text as word ids: corpora, treebanks, vocabularies, tasks, synthetic languages and streams."""
