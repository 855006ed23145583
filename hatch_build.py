"""What only a checkout has: papermill's way to the chapters, which would break papermill in any other place."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BookOfCheckout(BuildHookInterface):
    """Adds the entry point to an editable install; a wheel for others holds no `lmbook` to answer it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Declare that papermill reads paths below `chapters/` with `lmbook`."""
        if version == "editable":
            handler = "lmbook.papermill_io:ChapterHandler"
            self.metadata.core.entry_points["papermill.io"] = {"chapters/": handler}
