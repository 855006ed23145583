"""How fast and how large: each module measures one part of the library against an alternative."""
