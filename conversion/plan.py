"""What becomes of each tensor, decided before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from conversion.mapping import PREFIX, is_bare_variable, tied_aliases
from conversion.side_file import Record
from conversion.source import Source
from conversion.transfer import FLOATS, Move, is_bfloat16_in_disguise, is_narrower
from deberta_core.checkpoint import TensorInfo
from deberta_core.checkpoint.tensors import recognise_naming
from deberta_core.integers import is_scale, scale_of
from deberta_core.weight_names import is_kernel, published_key, to_pt


@dataclass(frozen=True)
class Place:
    """Where a tensor goes: its name there, and whether its axes are turned round."""

    name: str
    flipped: bool = False


@dataclass
class Plan:
    """All tensors on their way.

    Attributes:
        weights: to the weights file, in the order of the model.
        aside: to the side file.
        record: what the way back must know.
        aliases: second names of tensors in a .bin file.
        dropped_aliases: second names that the target format leaves out.
        widened: bfloat16 tensors that are stored as float32.
        narrowed: tensors that lose precision, as ``dtype`` asks.
    """

    weights: list[Move] = field(default_factory=list)
    aside: list[Move] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    aliases: dict[str, str] = field(default_factory=dict)
    dropped_aliases: dict[str, str] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)
    narrowed: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes that will be written."""
        return sum(move.target.nbytes for move in (*self.weights, *self.aside))


class Planner:
    """Decides where every tensor goes.

    Args:
        source: the checkpoint.
        to: naming of the target, ``pt`` or ``tf``.
        format: ``safetensors``, ``bin`` or ``h5``.
        dtype: floating-point type to store all floating-point tensors in; None: as they are.
    """

    def __init__(self, source: Source, *, to: str, format: str, dtype: str | None = None) -> None:
        self.source, self.to, self.format, self.dtype = source, to, format, dtype
        self.names = source.names
        self.tensors = source.tensors
        self.own_prefix = PREFIX if self.names.prefixed else ""
        self.prefix = self._prefix()
        self.result = Plan()

    def plan(self) -> Plan:
        """The plan."""
        kept = self._split_aliases()
        placed = self._place(skip={*kept, *self.result.dropped_aliases})
        for name, place in placed.items():
            move = Move(self.tensors[name], self._target(name, place), place is not None and place.flipped)
            (self.result.aside if place is None else self.result.weights).append(move)
        targets = {name: place.name for name, place in placed.items() if place}
        if self.format == "bin":
            self.result.aliases = self._bin_aliases(targets, kept)
        self._note(placed, targets)
        return self.result

    # Second names of tied weights.

    def _split_aliases(self) -> dict[str, str]:
        """Second names that stay such in the target; those that it leaves out are noted, the rest become tensors."""
        found = dict(self.source.file.aliases)
        if self.format == "bin":
            return found
        # safetensors and h5 hold no tensor under two names. What tying makes a second name of comes back by the rule;
        # any other pair was somebody's own, so both become tensors, and none of them is lost.
        usual = self._usual_aliases()
        self.result.dropped_aliases = {alias: first for alias, first in found.items() if usual.get(alias) == first}
        return {}

    def _usual_aliases(self) -> dict[str, str]:
        """Those that PyTorch's own .bin file of the source has."""
        written = self.source.file.tensors.keys() - self.source.file.aliases.keys()
        return tied_aliases(written, self.own_prefix, self.source.config.tie_word_embeddings)

    def _bin_aliases(self, targets: dict[str, str], kept: dict[str, str]) -> dict[str, str]:
        if self.source.file.format == "bin":
            keys = self.names.keys
            today = {self._place_known(keys[a]).name if a in keys else a: first for a, first in kept.items()}
            return {alias: targets[first] for alias, first in today.items() if first in targets}
        written, given = set(targets.values()), self.source.record.aliases
        if given is None:
            return tied_aliases(written, self.prefix, self.source.config.tie_word_embeddings)
        return {alias: first for alias, first in given.items() if first in written and alias not in written}

    # Places.

    def _prefix(self) -> str:
        """What the encoder's names begin with in a PyTorch target; by PyTorch's rule an encoder alone has no prefix."""
        if self.names.naming == "pt":
            return self.own_prefix  # files that people have keep the names that their scripts ask for
        if self.source.record.prefix is not None:
            return self.source.record.prefix
        return PREFIX if self._more_than_encoder(self.tensors) else ""

    def _more_than_encoder(self, names: Iterable[str]) -> bool:
        weights = [name for name in names if not (is_bare_variable(name) or is_scale(name))]
        return any(not self.names.keys.get(name, "").startswith(PREFIX) for name in weights)

    def _place(self, skip: set[str]) -> dict[str, Place | None]:
        """Where each tensor goes, in the order of the model, None for the side file."""
        order = {key: number for number, key in enumerate(self.names.table)}
        known = sorted(self.names.keys.items(), key=lambda pair: order[pair[1]])
        placed: dict[str, Place | None] = {n: self._place_known(key) for n, key in known if n not in skip}
        # Last, since a name of a user's own may be that of a weight in the other world: then the weight has it.
        taken = {place.name for place in placed.values() if place}
        for name in (*self.names.foreign, *self.source.restored):
            if name in skip:
                continue
            place = self._place_foreign(name)
            placed[name] = None if place is None or place.name in taken else place
            taken.add(place.name if place else "")
        return placed

    def _place_known(self, key: str) -> Place:
        """Where a weight of the zoo goes."""
        weight = self.names.table[key]
        flipped = weight.transposed and self.names.naming != self.to
        if self.to == "tf":
            return Place(weight.tf_name, flipped)
        return Place(self.prefix + key.removeprefix(PREFIX) if weight.is_body else key, flipped)

    def _place_foreign(self, name: str) -> Place | None:
        """Where a tensor goes that no model of the zoo has a use for; None for the side file."""
        if name in self.source.restored:
            return Place(name) if recognise_naming([name]) == self.to else None
        if is_bare_variable(name):
            return None
        if self.names.naming == self.to:
            return Place(name)
        there = to_pt(name, family=self.names.family) if self.to == "pt" else None
        if is_scale(name):  # of a weight of integers, with which it goes
            path, _, leaf = (there or published_key(name, naming="pt", family=self.names.family) or "").rpartition(".")
            if f"{path}.weight" in self.names.table:
                return Place(scale_of(self._place_known(f"{path}.weight").name, leaf))
        if there is not None:
            return Place(there, is_kernel(name))
        # A PyTorch name does not say which of its dots were slashes: only names noted on the way here go back.
        given = self.source.record.names
        return Place(given[name], is_kernel(given[name])) if name in given else None

    # Types.

    def _target(self, name: str, place: Place | None) -> TensorInfo:
        info = self.tensors[name]
        if place is None:
            return info
        shape = info.shape[::-1] if place.flipped else info.shape
        return TensorInfo(place.name, shape, self._dtype(name, info.dtype))

    def _dtype(self, name: str, stored: str) -> str:
        wanted = stored
        if self.dtype is not None and stored in FLOATS:
            wanted = self.dtype
            if is_narrower(stored, wanted):
                self.result.narrowed.append(name)
        elif name in self.source.record.widened and stored == "float32" and self.format != "h5":
            # The note is a hint: if somebody has trained in between, the values are no bfloat16 any more.
            wanted = "bfloat16" if is_bfloat16_in_disguise(self.source.read_raw(name)) else stored
        if wanted == "bfloat16" and self.format == "h5":
            self.result.widened.append(name)
            wanted = "float32"
        return wanted

    # What the way back could not find out by itself.

    def _note(self, placed: dict[str, Place | None], targets: dict[str, str]) -> None:
        # An entry is written only where the usual rule says something else: without any there is no side file at all.
        record, given, naming = self.result.record, self.source.record, self.names.naming
        if self.to == "tf":
            came_with = given.prefix if naming == "tf" else self.own_prefix
            usual = PREFIX if self._more_than_encoder(placed) else ""
            record.prefix = came_with if came_with not in (None, usual) else None
        else:
            record.names = self._names_to_note(targets) if naming == "tf" else dict(given.names)
        if self.format != "bin":
            record.aliases = given.aliases
            if self.source.file.format == "bin" and self.result.dropped_aliases != self._usual_aliases():
                record.aliases = dict(self.result.dropped_aliases)
        if self.format == "h5":
            before = given.widened if naming == "tf" else []
            record.widened = sorted({targets[name] for name in (*self.result.widened, *before) if name in targets})

    def _names_to_note(self, targets: dict[str, str]) -> dict[str, str]:
        """TF names of foreign tensors, which cannot be told from their PyTorch names."""
        return {targets[name]: name for name in self.names.foreign if name in targets}
