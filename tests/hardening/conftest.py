"""What the commands are tried on: tiny saved models, and the command line as a function."""

from cli.conftest import (  # noqa: F401 - fixtures
    _plain_terminal,
    headsmith,
    texts_file,
    tiny_encoder,
    tiny_gpt2,
)
