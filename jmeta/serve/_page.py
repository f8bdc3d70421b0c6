"""The files of the page, in a fixed table: no path of a request is ever looked for on a disk."""

from importlib.resources import files

_KINDS = {
    "index.html": "text/html",
    "style.css": "text/css",
    **dict.fromkeys(["app.js", "pad.js", "parts.js", "words.js"], "text/javascript"),
}
_FOLDER = files("jmeta.serve") / "page"

FILES: dict[str, tuple[bytes, str]] = {  # path -> content and type
    "/" if name == "index.html" else f"/{name}": ((_FOLDER / name).read_bytes(), kind)
    for name, kind in _KINDS.items()
}
