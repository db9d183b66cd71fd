"""Messages as releases sent them: a folder for each release that changed what may be said.

Bytes of that release's own code, which every later one has to read; `vocabulary.json` is all that it could say.
`python -m tests.recorded` records.
"""

from __future__ import annotations

import base64
from pathlib import Path

RELEASES = sorted(path for path in Path(__file__).parent.iterdir() if (path / "vocabulary.json").exists())
BUS_KEY = base64.b64encode(b"a key of the end-to-end tests").decode()
"""What they are sealed with."""
NAMESPACE = "recorded"
"""Where the operator was that sent them, in a region of the end-to-end tests."""
HOST = "vc-a-0.cc.qa-de-1.cloud.sap"
