"""`restore`: old model code runs again, for as long as it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType

from headsmith.compat.classes import BaseClasses
from headsmith.compat.modules import ModuleNames
from headsmith.compat.name_rules import CLIP_BLOCKS, CLIP_MODELS
from headsmith.errors import MissingExtraError

__all__ = ["Restoration", "is_restored", "restore", "restored", "undo"]

_current: Restoration | None = None


class Restoration:
    """What one call of `restore` did; a context manager that undoes it at its end.

    Made by `restore`. Where everything was restored already, it did nothing and undoes nothing.
    """

    def __init__(self, *, owner: bool) -> None:
        self._owner = owner
        self._classes = BaseClasses()
        self._modules = ModuleNames(
            after={
                "transformers.cache_utils": self._classes.install_caches,
                "transformers.configuration_utils": self._classes.install_configs,
                "transformers.modeling_utils": self._classes.install,
                **dict.fromkeys({**CLIP_BLOCKS, **CLIP_MODELS}, self._classes.install_clip),
            },
            took=self._classes.took,
        )

    def undo(self) -> None:
        """Leave Transformers as it was, if this is what changed it."""
        global _current
        if self._owner and _current is self:
            _current = None
            self._classes.remove()
            self._modules.remove()

    def __enter__(self) -> Restoration:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()


def restore() -> Restoration:
    """Give Transformers 5, or a late 4.x, back what model code of Transformers 4 needs.

    Names are put back where they were and are absent: in `modeling_utils`, `pytorch_utils`, at
    the top level, in model modules, and in modules that are gone. Removed methods are put back
    on the base classes. Model classes of Transformers 4 are built, tied, loaded and saved as
    they were then, and generate. Native classes are not touched, and nothing that exists is
    replaced. A second call does nothing.

    Call it before the old code is imported; Transformers itself may be imported before or after,
    and is not imported here.

    Returns:
        An object that can be used as a context manager or asked to `undo()`.

    Raises:
        MissingExtraError: Transformers is not installed.

    Example:
        >>> from headsmith.compat import restore
        >>> with restore():
        ...     from transformers.modeling_utils import SQuADHead
        >>> SQuADHead.__name__
        'SQuADHead'
    """
    global _current
    if _current is not None:
        return Restoration(owner=False)
    if find_spec("transformers") is None:
        raise MissingExtraError(
            "headsmith.compat restores what Transformers dropped, and Transformers is not "
            "installed. Install it with: pip install 'headsmith[pruning]'"
        )
    _current = Restoration(owner=True)
    _current._modules.install()
    return _current


def undo() -> None:
    """Leave Transformers as it was before `restore`, whoever called it.

    Models built in the meantime keep their weights but lose what was put back.

    Example:
        >>> from headsmith.compat import is_restored, restore, undo
        >>> _ = restore()
        >>> undo()
        >>> is_restored()
        False
    """
    if _current is not None:
        _current.undo()


def is_restored() -> bool:
    """Whether `restore` is on."""
    return _current is not None


@contextmanager
def restored() -> Iterator[None]:
    """Restore within a block; the same as `with restore():`.

    Example:
        >>> from headsmith.compat import restored
        >>> with restored():
        ...     from transformers.pytorch_utils import prune_layer
    """
    with restore():
        yield
