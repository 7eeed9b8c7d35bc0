#!/usr/bin/env python3
"""Others' decode attention on our forests: same tree, pages, dtype and way of timing as `espalier measure`.

  peers.py FOREST.jsonl|PLAN.json... [--heads 32/8/128] [--dtype bf16] [--page-size 1] [--json F]
           [--ours results.csv] [--calibration measurement.json | --ceiling GB/s] [--seconds N] [--list]

Every peer comes from its own package (flashinfer-python, torch, flash-attn); one that can't be imported is listed as "not installed", one that
can't run an input as "n/a" with its reason. Times: a CUDA graph where the peer can be captured, L2 overwritten before each run, 5 runs to warm
up, the median of 20. "plan" is the peer's own planning on the host, timed apart and included in "in all". Rows are checked against the
first peer's. Needs a GPU; --list and the tests don't. Beyond the peers' own packages, the standard library only.
"""
import argparse
import csv
import importlib
import json
import math
import signal
import statistics
import sys
import time

from peer_methods import Case, PEERS

DTYPE_BYTES = {"bf16": 2, "fp16": 2}
WARM_UPS, REPEATS = 5, 20
TOLERANCE = 2e-2


# --- forests, page tables, bytes ---------------------------------------------------------------------------------------------------------

class OutOfTime(BaseException):
    """The caller ended us: what was measured is still printed. Packages that catch every Exception don't catch this one."""


def end_early(*_):
    raise OutOfTime


class Forest:
    """Requests in depth-first order; each reads the tokens of its leaf's path from the root."""

    def __init__(self, name, parent, tokens, leaf, batch_position=None):
        if not leaf or len(parent) != len(tokens):
            raise ValueError(f"{name}: a forest needs requests, and a length for each node")
        self.name, self.parent, self.tokens = name, parent, tokens
        order = self._depth_first(parent)
        place = {node: i for i, node in enumerate(order)}
        by_place = sorted(range(len(leaf)), key=lambda r: place[leaf[r]])
        self.leaf = [leaf[r] for r in by_place]
        positions = batch_position or list(range(len(leaf)))
        # Where the engine has the request in its batch, by request.
        self.batch_position = [positions[r] for r in by_place]
        self.paths = [self._path(node) for node in self.leaf]

    @staticmethod
    def _depth_first(parent):
        children = {}
        for node, up in enumerate(parent):
            children.setdefault(up, []).append(node)
        order, stack = [], list(reversed(children.get(-1, [])))
        while stack:
            node = stack.pop()
            order.append(node)
            stack.extend(reversed(children.get(node, [])))
        if len(order) != len(parent):
            raise ValueError("a node's parents lead to no root")
        return order

    def _path(self, node):
        path = []
        while node != -1:
            path.append(node)
            node = self.parent[node]
        return path[::-1]

    def context(self, request):
        return sum(self.tokens[n] for n in self.paths[request])

    def groups(self, begin, end):
        """Runs of requests with the same nodes at depths [begin, end): (first request, one past the last, nodes)."""
        out = []
        for r, path in enumerate(self.paths):
            nodes = tuple(path[begin:end])
            out[-1:] = [(out[-1][0], r + 1, nodes)] if out and out[-1][2] == nodes else [*out[-1:], (r, r + 1, nodes)]
        return out

    def cascades(self):
        """Groups level by level: the roots' level and each request alone below; and, where all are equally deep, every level."""
        depths, ways = {len(p) for p in self.paths}, {}
        if min(depths) >= 2:
            ways["2 levels"] = [self.groups(0, 1), [(r, r + 1, tuple(p[1:])) for r, p in enumerate(self.paths)]]
        if len(depths) == 1 and min(depths) > 2:
            ways[f"{min(depths)} levels"] = [self.groups(d, d + 1) for d in range(min(depths))]
        return ways

    @property
    def unique_tokens(self):
        return sum(self.tokens)

    @property
    def logical_tokens(self):
        return sum(self.context(r) for r in range(len(self.leaf)))


def read_forests(path, text):
    """forest/1 (one a line, or one over lines) or a plan/1; of files with several, the first."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = json.loads(text.splitlines()[0])
    name = document.get("name") or path
    forest = document.get("forest", document)
    name = forest.get("name") or name
    return Forest(name, forest["parent"], forest["tokens"], forest["leaf"], forest.get("batch_position"))


class PageTable:
    """Pages of all nodes; a node begins a page. Shared nodes are shared pages, so nodes with requests below them must fill theirs."""

    def __init__(self, forest, page_size):
        self.page_size = page_size
        self.first, pages = [], 0
        inner = set(forest.parent)
        for node, tokens in enumerate(forest.tokens):
            if page_size > 1 and node in inner and tokens % page_size:
                raise ValueError(f"node {node} has {tokens} tokens: a page of {page_size} would be shared in part")
            self.first.append(pages)
            pages += -(-tokens // page_size)
        self.pages = pages

    def of_node(self, forest, node):
        return range(self.first[node], self.first[node] + -(-forest.tokens[node] // self.page_size))

    def rows(self, forest, paths):
        """indptr, page ids and tokens in the last page of paths of nodes, as paged kernels take them."""
        indptr, indices, last = [0], [], []
        for path in paths:
            for node in path:
                indices.extend(self.of_node(forest, node))
            indptr.append(len(indices))
            tokens = forest.tokens[path[-1]] if path else 0
            last.append((tokens - 1) % self.page_size + 1 if tokens else 0)
        return indptr, indices, last


class Heads:
    def __init__(self, text):
        self.q, self.kv, self.dim = (int(x) for x in text.split("/"))
        if self.q % self.kv:
            raise ValueError(f"--heads {text}: query heads are no multiple of KV heads")
        self.text = text

    def kv_bytes(self, tokens, dtype):
        return 2 * tokens * self.kv * self.dim * DTYPE_BYTES[dtype]


# --- tables ------------------------------------------------------------------------------------------------------------------------------

def read_ours(path, heads, strategy="espalier"):
    with open(path, newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["heads"] == heads and r["strategy"] == strategy and r["median_us"]]
    return {r["input"]: float(r["median_us"]) for r in rows}


def ceiling_of(document):
    """Fastest read of the streaming and ring probes, GB/s."""
    best = 0.0
    for family in document["families"]:
        if family["id"] in ("C1", "C3", "C4"):
            best = max([best, *(b / us / 1e3 for b, us in zip(family["parameters"]["bytes"], family["median_us"]))])
    return best


def finish(rows, forests, heads, dtype, ours, ceiling):
    """Adds what follows from a row's times."""
    unique = {f.name: heads.kv_bytes(f.unique_tokens, dtype) for f in forests}
    for row in rows:
        row["ours_us"] = ours.get(row["input"])
        if row.get("us") is None:
            continue
        row["in_all_us"] = row["us"] + (row.get("plan_us") or 0.0)
        row["unique_gb_per_s"] = unique[row["input"]] / row["us"] / 1e3
        row["share_of_ceiling"] = row["unique_gb_per_s"] / ceiling if ceiling else None
        row["over_ours"] = row["us"] / row["ours_us"] if row["ours_us"] else None
    return rows


def geometric_means(rows):
    ratios = {}
    for row in rows:
        if row.get("over_ours"):
            ratios.setdefault(row["peer"], []).append(row["over_ours"])
    return {peer: (math.exp(sum(map(math.log, r)) / len(r)), len(r)) for peer, r in ratios.items()}


def table(rows):
    def number(row, key, digits=1, scale=1.0):
        value = row.get(key)
        return "-" if value is None else f"{value * scale:.{digits}f}"

    cells = [("input", "peer", "us", "plan us", "in all", "GB/s", "% ceiling", "ours us", "over ours", "")]
    for r in rows:
        cells.append((r["input"], r["peer"], number(r, "us"), number(r, "plan_us"), number(r, "in_all_us"), number(r, "unique_gb_per_s", 0),
                      number(r, "share_of_ceiling", 0, 100), number(r, "ours_us"), number(r, "over_ours", 2), r.get("note", "")))
    width = [max(len(c[i]) for c in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(c[i].ljust(width[i]) if i in (0, 1, 9) else c[i].rjust(width[i]) for i in range(len(c))).rstrip() for c in cells]
    for peer, (mean, count) in geometric_means(rows).items():
        lines.append(f"{peer}: {mean:.2f}x our time, geometric mean of {count} input{'s' if count != 1 else ''}")
    return "\n".join(lines)


# --- timing: from here on torch is there -------------------------------------------------------------------------------------------------

def import_or_none(name):
    try:
        return importlib.import_module(name)
    except Exception:  # some packages fail in their own ways where a library of theirs is missing
        return None


def captured(torch, run):
    """The run as a CUDA graph's replay, or as it is where it can't be captured."""
    try:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay, "graph"
    except Exception:
        torch.cuda.synchronize()
        return run, "no graph"


def times(torch, run, flush):
    us = []
    for i in range(WARM_UPS + REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.fill_(i % 100)
        begin.record()
        run()
        end.record()
        end.synchronize()
        if i >= WARM_UPS:
            us.append(begin.elapsed_time(end) * 1e3)
    return us


def plan_times(torch, plan):
    us = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        plan()
        torch.cuda.synchronize()
        us.append((time.perf_counter() - start) * 1e6)
    return statistics.median(us)


def run_case(torch, case, packages, flush):
    reference = None
    for label, module, make in PEERS:
        row = {"input": case.forest.name, "peer": label}
        if packages[module] is None:
            yield {**row, "note": "not installed"}
            continue
        try:
            ways = make(case, packages[module])
        except MemoryError:
            yield {**row, "note": "n/a: memory"}
            continue
        except Exception as error:
            yield {**row, "note": f"n/a: {first_line(error)}"}
            continue
        for name, plan, run, order in ways:
            row = {"input": case.forest.name, "peer": name}
            try:
                if plan:
                    plan()
                rows = (order(run()) if order else run()).float()
                if reference is None:
                    reference = rows
                error = ((rows - reference).norm(dim=-1) / reference.norm(dim=-1)).max().item()
                if not error <= TOLERANCE:
                    yield {**row, "note": f"wrong: rows differ by {error:.2g}"}
                    continue
                replay, note = captured(torch, run)
                us = times(torch, replay, flush)
                yield {**row, "us": statistics.median(us), "plan_us": plan_times(torch, plan) if plan else None, "repeats": len(us), "note": note}
            except Exception as error:
                torch.cuda.synchronize()
                yield {**row, "note": f"n/a: {first_line(error)}"}


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0][:160]


def measure(torch, forests, packages, options):
    rows, start = [], time.monotonic()
    flush = torch.empty(3 * torch.cuda.get_device_properties(0).L2_cache_size, dtype=torch.int8, device="cuda")
    for forest in forests:
        if options.seconds and time.monotonic() - start > options.seconds:
            rows.append({"input": forest.name, "peer": "all", "note": "out of time"})
            continue
        try:
            case = Case(torch, forest, options.heads, options.dtype, PageTable(forest, options.page_size))
            for row in run_case(torch, case, packages, flush):
                rows.append(row)
        except OutOfTime:
            rows.append({"input": forest.name, "peer": "the rest", "note": "out of time"})
            return rows
        except MemoryError:
            rows.append({"input": forest.name, "peer": "all", "note": "n/a: memory"})
        except ValueError as error:
            rows.append({"input": forest.name, "peer": "all", "note": f"n/a: {first_line(error)}"})
        torch.cuda.empty_cache()
    return rows


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--heads", type=Heads, default=Heads("32/8/128"))
    parser.add_argument("--dtype", choices=sorted(DTYPE_BYTES), default="bf16")
    parser.add_argument("--page-size", type=int, default=1)
    parser.add_argument("--ours", help="results.csv of espalier measure")
    parser.add_argument("--calibration", help="measurement/1 with streaming probes: their fastest read is the ceiling")
    parser.add_argument("--ceiling", type=float, help="GB/s")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--json")
    parser.add_argument("--list", action="store_true", help="which peers are installed")
    options = parser.parse_args(arguments)
    packages = {module: import_or_none(module) for _, module, _ in PEERS}
    if options.list:
        for label, module, _ in PEERS:
            print(f"{label}: {getattr(packages[module], '__version__', 'installed') if packages[module] else 'not installed'}")
        return 0
    forests = []
    for path in options.inputs:
        with open(path) as file:
            forests.append(read_forests(path, file.read()))
    torch = packages["torch"]
    signal.signal(signal.SIGTERM, end_early)
    if torch is not None and not torch.cuda.is_available():
        print("peers.py: torch sees no CUDA device", file=sys.stderr)
        return 4
    if torch is None:
        rows = [{"input": f.name, "peer": label, "note": "not installed"} for f in forests for label, _, _ in PEERS]
    else:
        rows = measure(torch, forests, packages, options)
    ceiling = options.ceiling
    if options.calibration:
        try:
            with open(options.calibration) as file:
                ceiling = ceiling_of(json.load(file))
        except OSError:
            pass
    ours = read_ours(options.ours, options.heads.text) if options.ours else {}
    finish(rows, forests, options.heads, options.dtype, ours, ceiling)
    print(table(rows))
    if options.json:
        versions = {module: getattr(package, "__version__", None) for module, package in packages.items()}
        with open(options.json, "w") as file:
            json.dump({"schema": "peers/1", "heads": options.heads.text, "dtype": options.dtype, "page_size": options.page_size, "ceiling_gb_per_s": ceiling,
                       "versions": versions, "rows": rows, "geometric_means": geometric_means(rows)}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
