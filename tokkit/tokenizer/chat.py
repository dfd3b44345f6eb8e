"""Chat templates: what stands around messages in the texts that a chat model was trained on.

A template is a program in jinja's language, and comes from outside. It runs in jinja's sandbox,
without the machine's files, modules or clock but for a date; and what it may do is counted, so that
none runs on for ever or fills the memory: turns of loops, calls, and characters made.
"""

from __future__ import annotations

import json
import re
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from tokkit.errors import ArtifactError, InputError
from tokkit.tokenizer.records import shown

MAX_TEMPLATE_CHARACTERS = 1 << 18
MAX_CHARACTERS = 1 << 21  # of one value, and of what comes out
MAX_STEPS = 1 << 17  # turns of loops, calls, and each 64 characters made or members looked at
_MAX_BITS = 4096  # of a whole number
_STEP_CHARACTERS = 64

_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
    "groupby", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min",
    "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "sort",
    "string", "title", "trim", "unique", "upper", "wordcount",
)  # fmt: skip
_METHODS = (
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith",
    "upper", "lower", "title", "capitalize", "casefold", "find", "rfind", "index", "count",
    "removeprefix", "removesuffix", "isdigit", "isalpha", "isspace", "isupper", "islower",
    "isnumeric", "isalnum", "join", "replace", "get", "items", "keys", "values",
)  # fmt: skip
_MEMBERS = (list, tuple, KeysView, ValuesView, ItemsView)
_PLAIN = (str, bytes, list, tuple, dict, int, float, complex, bool, type(None), range)
_DATE = re.compile(r"(?:[^%]|%-?[A-Za-z%])*")


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    **tokens: Any,
) -> str:
    """The text of `messages`, each with "role" and "content", as the template writes it.

    With `add_generation_prompt` the text ends where the model's turn begins. `tokens` are further
    names that the template may use, such as bos_token="<s>"; bos_token and eos_token are "", and
    tools and documents null, unless given. Raises InputError where the template itself refuses
    the messages, and ArtifactError where it is too long, wrong, does what is not allowed, or does
    not come to an end.
    """
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        raise ArtifactError(
            f"a chat template may have {MAX_TEMPLATE_CHARACTERS:,} characters, got "
            f"{len(template):,}: check that it is one"
        )
    names = {"bos_token": "", "eos_token": "", "tools": None, "documents": None, **tokens}
    try:
        sandbox = _Sandbox()
        pieces = sandbox.from_string(template).generate(
            messages=sandbox.spend([dict(message) for message in messages]),
            add_generation_prompt=add_generation_prompt,
            **names,
        )  # fmt: skip
        return _bounded(pieces)
    except (ArtifactError, InputError):
        raise
    except Exception as error:
        # The template is a small program: whatever goes wrong inside is its fault.
        reason = shown(" ".join(str(error).split())) or type(error).__name__
        raise ArtifactError(
            f"the chat template cannot be used: {reason}; give the text without a template"
        ) from error


def _bounded(pieces: Iterable[str]) -> str:
    found, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_CHARACTERS:
            raise _runs_away(f"it writes more than {MAX_CHARACTERS:,} characters")
        found.append(piece)
    return "".join(found)


def _runs_away(reason: str) -> ArtifactError:
    return ArtifactError(
        f"the chat template does not come to an end: {reason}; give the text without a template"
    )


class _Generation(Extension):
    """The tag that marks the model's own words for training; they are written as they are."""

    tags = {"generation"}  # noqa: RUF012 - jinja's own form

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counted(NodeTransformer):
    """Lets loops, lists and joined texts go through the sandbox's counting filters."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the visitor's form
        self.generic_visit(node)
        node.iter = _through("_counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_joined", nodes.List(node.nodes, lineno=node.lineno))

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_spent", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_spent", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _through("_spent", node) if node.ctx == "load" else node


class _Namespace(Namespace):
    """Names that a template may set; as text it does not show what they hold."""

    def __repr__(self) -> str:
        return "<namespace>"


def _through(name: str, node: nodes.Node) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    """An environment for one template, which counts what is done in it.

    Every value that is made weighs MAX_CHARACTERS at most, whatever it holds inside; so does its
    text, and comparing it takes no longer.
    """

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        extensions = ["jinja2.ext.loopcontrols", _Generation]
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=extensions,
            finalize=self._finalized,
        )
        self._steps = 0
        kept = {name: self._watched(name, self.filters[name]) for name in _FILTERS}
        own = {"_counted": self._count, "_joined": self._join, "_spent": self.spend}
        self.filters = {**kept, **own, "tojson": self._to_json}
        self.globals = {
            **{name: self.globals[name] for name in ("range", "dict")},
            "namespace": _Namespace,
            "raise_exception": _refuse,
            "strftime_now": _today,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counted().visit(super()._parse(source, name, filename))
        return tree

    def _finalized(self, value: Any) -> Any:
        """What is about to be written as text."""
        self.weigh(value)
        return value

    def spend(self, made: Any = None) -> Any:
        """Count one step and the weight of what was made by it, and give that back."""
        self._step(1 + self.weigh(made) // _STEP_CHARACTERS)
        return made

    def weigh(self, value: Any) -> int:
        """About how many characters a value's text has, all inside it counted each time."""
        weight, looked, waiting = 0, 0, [value]
        while waiting:
            item = waiting.pop()
            looked += 1
            if isinstance(item, str):
                weight += len(item)
            elif isinstance(item, int):
                weight += 1 + item.bit_length() // 3
            elif isinstance(item, Mapping):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, _MEMBERS):
                waiting += item
            weight += 2
            self.allow(weight + len(waiting))
        self._step(looked // _STEP_CHARACTERS)
        return weight

    def _step(self, count: int) -> None:
        self._steps += count
        if self._steps > MAX_STEPS:
            raise _runs_away(f"it takes more than {MAX_STEPS:,} steps")

    def allow(self, size: int) -> None:
        """Refuse to make a value of more characters, or members, than are allowed."""
        if size > MAX_CHARACTERS:
            raise _runs_away(f"it makes a value of more than {MAX_CHARACTERS:,} characters")

    def wrap_str_format(self, value: Any) -> None:
        """No format strings: their widths are not bounded; `format` is then no safe attribute."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, _PLAIN):
            return attr in _METHODS
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        self.spend()
        for given in args:
            self.weigh(given)
        text = getattr(obj, "__self__", None)
        if isinstance(text, str) and getattr(obj, "__name__", "") in ("join", "replace"):
            self._check_text(obj.__name__, text, *args)
        return self.spend(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.spend()
        sizes = [len(side) if isinstance(side, str | list | tuple) else None
                 for side in (left, right)]  # fmt: skip
        if operator == "%" and isinstance(left, str):
            raise jinja2.TemplateError("texts are not formatted with % here")
        for size, other in zip(sizes, (right, left), strict=True):
            if operator == "*" and size is not None and isinstance(other, int):
                self.allow(size * other)
        if operator == "+" and None not in sizes:
            self.allow(sum(size or 0 for size in sizes))
        if isinstance(left, int) and isinstance(right, int) and operator in ("*", "**"):
            bits, more = left.bit_length(), right.bit_length()
            if (bits + more if operator == "*" else bits * abs(right)) > _MAX_BITS:
                raise jinja2.TemplateError("a number is too large")
        return self.spend(super().call_binop(context, operator, left, right))

    def _watched(self, name: str, make: Callable[..., Any]) -> Callable[..., Any]:
        """A filter of jinja's, whose texts are measured before and after."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            given = args[1:] if hasattr(make, "jinja_pass_arg") else args
            for value in given:
                self.weigh(value)
            if name == "replace":
                self._check_text("replace", str(given[0]), *given[1:])
            if name == "join":
                parts = [self.spend(part) for part in given[0]]
                self._check_text("join", str(kwargs.get("d", given[1] if given[1:] else "")), parts)
                args = (*args[: len(args) - len(given)], parts, *given[1:])
            made = make(*args, **kwargs)
            return made if isinstance(made, Iterator) else self.spend(made)

        if hasattr(make, "jinja_pass_arg"):
            watched.jinja_pass_arg = make.jinja_pass_arg  # type: ignore[attr-defined]
        return watched

    def _check_text(self, name: str, text: str, *args: Any) -> None:
        """Work out how long a text will be before it is made."""
        if name == "join":
            parts = list(args[0]) if args else []
            self.allow(sum(len(str(part)) + len(text) for part in parts))
        elif len(args) >= 2:
            times = text.count(str(args[0])) if str(args[0]) else len(text) + 1
            self.allow(len(text) + times * len(str(args[1])))

    def _count(self, items: Any) -> Iterator[Any]:
        for item in items:
            self.spend()
            yield item

    def _join(self, parts: Sequence[Any]) -> str:
        self.weigh(parts)
        texts = [str(part) for part in parts]
        self.allow(sum(map(len, texts)))
        made: str = self.spend("".join(texts))
        return made

    def _to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON as chat models are used to it: letters as they are, nothing escaped for HTML."""
        self.weigh(value)
        if indent is not None and not 0 <= indent <= 16:
            raise jinja2.TemplateError(f"JSON may be indented by 0 to 16, got {indent}")
        made: str = self.spend(
            json.dumps(
                value,
                ensure_ascii=ensure_ascii,
                indent=indent,
                separators=separators,
                sort_keys=sort_keys,
            )
        )
        return made


def _refuse(message: object) -> None:
    raise InputError(
        f"the model's chat template refuses these messages: {shown(str(message))}; reword them"
    )


def _today(pattern: object) -> str:
    if not isinstance(pattern, str) or len(pattern) > 256 or not _DATE.fullmatch(pattern):
        raise jinja2.TemplateError("a date's pattern holds letters after % alone")
    return datetime.now().strftime(pattern)
