"""A trained run behind HTTP: a JSON interface, and a page to draw on.

It needs starlette and uvicorn, which `pip install 'jmeta[serve]'` brings.
"""

from jmeta.serve._app import application
from jmeta.serve._limits import Limits
from jmeta.serve._server import address_of, is_open, listen, serve

__all__ = ["Limits", "address_of", "application", "is_open", "listen", "serve"]
