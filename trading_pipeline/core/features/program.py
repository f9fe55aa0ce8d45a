"""Turns syntax trees into a list of steps over registers, in which equal sub-expressions and windows are shared."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trading_pipeline.core.features.expression import Call, Constant, Expression, Field
from trading_pipeline.core.features.ladder import ALL_HISTORY, ladder
from trading_pipeline.core.features.operators import is_condition
from trading_pipeline.core.features.windowed import WINDOWED, Windowed, windowed

Operand = int | float
"""The number of a value, or (a float) a constant."""
Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Fetches a field of the bars, or an earlier stage's answer, into a register."""

    source: Expression
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Computes an operator row by row.

    Attributes:
        operator: its name; `Fill` writes a constant.
        operands: registers (int) and constants (float).
        output: register.
        narrow: pyqlib computes it in float32.
    """

    operator: str
    operands: tuple[Operand, ...]
    output: int
    narrow: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roll:
    """Computes all answers wanted of one kernel from the same series in one pass; see `kernels`."""

    kernel: str
    inputs: Array
    outputs: Array
    statistics: Array
    windows: Array
    numbers: npt.NDArray[np.float64]
    ladder: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """Hands a finished register over as an answer."""

    register: int
    answer: int


Step = Load | Apply | Roll | Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Steps in order, and how many registers they use."""

    steps: tuple[Step, ...]
    registers: int

    @property
    def rungs(self) -> int:
        """Length of the longest ladder."""
        return max((len(step.ladder) for step in self.steps if isinstance(step, Roll)), default=0)

    @property
    def sources(self) -> tuple[Expression, ...]:
        """What is loaded."""
        return tuple(step.source for step in self.steps if isinstance(step, Load))


def assemble(answers: Sequence[Expression], sources: frozenset[Expression]) -> Program:
    """Return the program that emits the answers in order; fields and `sources` are loaded, all else is computed."""
    graph = _Graph(sources=sources)
    roots = [graph.value(answer) for answer in answers]
    return _allocate(list(_Schedule(graph, roots).run()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """A value before registers are assigned; `operator` is Load, Fill, an operator row by row, or a windowed one."""

    operator: str
    operands: tuple[Operand, ...]
    source: Expression | None = None
    window: Windowed | None = None
    narrow: bool = False


@dataclass(slots=True, kw_only=True)
class _Graph:
    sources: frozenset[Expression]
    nodes: list[_Node] = field(default_factory=list)
    groups: dict[tuple[str, tuple[Operand, ...]], list[int]] = field(default_factory=lambda: defaultdict(list))
    _numbers: dict[tuple[_Node, tuple[str, ...]], int] = field(default_factory=dict)
    _known: dict[Expression, int] = field(default_factory=dict)

    def value(self, expression: Expression) -> int:
        """Return the number of the value, computing nothing twice."""
        if expression not in self._known:
            self._known[expression] = self._add(self._node(expression))
        return self._known[expression]

    def group_of(self, node: _Node) -> list[int]:
        return self.groups[node.window.kernel, node.operands] if node.window else []

    def _add(self, node: _Node) -> int:
        # The constant 2.0 equals the value of number 2, and both may be operands of one operator.
        key = node, tuple(map(repr, node.operands))
        if key not in self._numbers:
            self._numbers[key] = len(self.nodes)
            if node.window:
                self.groups[node.window.kernel, node.operands].append(len(self.nodes))
            self.nodes.append(node)
        return self._numbers[key]

    def _node(self, expression: Expression) -> _Node:
        if isinstance(expression, Constant):
            return _Node(operator="Fill", operands=(float(expression.value),))
        if not isinstance(expression, Call) or expression in self.sources:
            return _Node(operator="Load", operands=(), source=expression, narrow=isinstance(expression, Field))
        if expression.operator in WINDOWED:
            series, window = windowed(expression)
            values = tuple(self.value(item) for item in series)
            narrow = window.kernel == "shifts" and self.nodes[values[0]].narrow
            return _Node(operator=expression.operator, operands=values, window=window, narrow=narrow)
        return self._elementwise(expression)

    def _elementwise(self, call: Call) -> _Node:
        operands = tuple(
            float(item.value) if isinstance(item, Constant) else self.value(item) for item in call.arguments
        )
        operator = call.operator
        if operator == "Add" and all(map(is_condition, call.arguments)):
            operator = "Or"  # as numpy adds truth values
        values = call.arguments[1:] if operator == "If" else call.arguments
        series = [self.nodes[operand] for operand in operands[-len(values) :] if isinstance(operand, int)]
        narrow = not is_condition(call) and bool(series) and all(node.narrow for node in series)
        return _Node(operator=operator, operands=operands, narrow=narrow or operator == "Sign")


class _Schedule:
    """Orders the steps so that values die young: what can be finished after a step is finished at once."""

    def __init__(self, graph: _Graph, roots: list[int]) -> None:
        self._graph, self._roots = graph, roots
        self._done: set[int] = set()
        self._users: dict[int, list[int]] = defaultdict(list)
        for number, node in enumerate(graph.nodes):
            if not node.window:
                for operand in node.operands:
                    if isinstance(operand, int):
                        self._users[operand].append(number)
        self._answers: dict[int, list[int]] = defaultdict(list)
        for answer, root in enumerate(roots):
            self._answers[root].append(answer)

    def run(self) -> Iterator[Step]:
        for root in self._roots:
            yield from self._finish(root)

    def _finish(self, number: int) -> Iterator[Step]:
        if number in self._done:
            return
        node = self._graph.nodes[number]
        for operand in node.operands:
            if isinstance(operand, int):
                yield from self._finish(operand)
        if number in self._done:
            return
        group = self._graph.group_of(node) or [number]
        yield self._step(node, group)
        self._done.update(group)
        for value in group:
            yield from (Emit(register=value, answer=answer) for answer in self._answers[value])
        for value in group:
            for user in self._users[value]:
                if all(operand in self._done for operand in self._graph.nodes[user].operands if _is_value(operand)):
                    yield from self._finish(user)

    def _step(self, node: _Node, group: list[int]) -> Step:
        if node.source is not None:
            return Load(source=node.source, output=group[0])
        if node.window is None:
            return Apply(operator=node.operator, operands=node.operands, output=group[0], narrow=node.narrow)
        return self._roll(node, node.window.kernel, group)

    def _roll(self, node: _Node, kernel: str, group: list[int]) -> Roll:
        asked = [(window, number) for number in group if (window := self._graph.nodes[number].window) is not None]
        asked.sort(key=lambda item: (item[0].length, item[0].statistic, item[0].number))
        windows = [window.length or (0 if kernel == "shifts" else ALL_HISTORY) for window, _ in asked]
        rungs, place = ladder(windows if asked[0][0].on_ladder else ())
        if kernel == "ranks":
            order = sorted(range(len(asked)), key=windows.__getitem__)
            asked, windows = [asked[i] for i in order], [windows[i] for i in order]
        return Roll(
            kernel=kernel,
            inputs=np.array(node.operands, dtype=np.int64),
            outputs=np.array([number for _, number in asked], dtype=np.int64),
            statistics=np.array([window.statistic for window, _ in asked], dtype=np.int64),
            windows=np.array([place[n] if asked[0][0].on_ladder else n for n in windows], dtype=np.int64),
            numbers=np.array([window.number for window, _ in asked], dtype=np.float64),
            ladder=rungs,
        )


def _is_value(operand: Operand) -> bool:
    return isinstance(operand, int)


def _reads(step: Step) -> list[int]:
    match step:
        case Load():
            return []
        case Apply():
            return [operand for operand in step.operands if isinstance(operand, int)]
        case Roll():
            return [int(value) for value in step.inputs]
        case Emit():
            return [step.register]


def _writes(step: Step) -> list[int]:
    match step:
        case Load() | Apply():
            return [step.output]
        case Roll():
            return [int(value) for value in step.outputs]
        case Emit():
            return []


def _allocate(steps: list[Step]) -> Program:
    """Give values registers, each free again after the last step that reads it."""
    last = {value: place for place, step in enumerate(steps) for value in (*_writes(step), *_reads(step))}
    free: list[int] = []
    registers: dict[int, int] = {}
    used = 0
    answer: list[Step] = []
    for place, step in enumerate(steps):
        for value in _writes(step):
            if not free:
                free.append(used)
                used += 1
            registers[value] = free.pop()
        answer.append(_renamed(step, registers))
        ended = sorted(value for value in {*_reads(step), *_writes(step)} if last[value] == place)
        free.extend(registers.pop(value) for value in ended)
    return Program(steps=tuple(answer), registers=used)


def _renamed(step: Step, registers: dict[int, int]) -> Step:
    match step:
        case Load(source=source, output=output):
            return Load(source=source, output=registers[output])
        case Emit(register=value, answer=answer):
            return Emit(register=registers[value], answer=answer)
        case Apply(operator=operator, operands=operands, output=output, narrow=narrow):
            named = tuple(registers[item] if isinstance(item, int) else item for item in operands)
            return Apply(operator=operator, operands=named, output=registers[output], narrow=narrow)
        case Roll():
            return Roll(
                kernel=step.kernel,
                inputs=np.array([registers[int(value)] for value in step.inputs], dtype=np.int64),
                outputs=np.array([registers[int(value)] for value in step.outputs], dtype=np.int64),
                statistics=step.statistics,
                windows=step.windows,
                numbers=step.numbers,
                ladder=step.ladder,
            )
