"""What only a checkout has: the way from papermill to the chapters, which breaks papermill elsewhere."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BookOfCheckout(BuildHookInterface):
    """Adds the entry point to an editable install; a wheel for others holds no `lmbook` to answer it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Declare that papermill reads paths below `chapters/` with `lmbook`."""
        if version == "editable":
            handler = "lmbook.papermill_io:ChapterHandler"
            self.metadata.core.entry_points["papermill.io"] = {"chapters/": handler}
