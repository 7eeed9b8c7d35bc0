#!/usr/bin/env python3
"""Others' decode attention on our forests: same tree, pages, dtype and way of timing as `espalier measure`.

  peers.py FOREST.jsonl|PLAN.json... [--heads 32/8/128] [--dtype bf16] [--page-size 1] [--json F]
           [--ours results.csv] [--calibration measurement.json | --ceiling GB/s] [--seconds N] [--cache FOLDER] [--list]
  peers.py --warm FOLDER [--arch 9.0a] [--heads 32/8/128] [--dtype bf16]

Every peer comes from its own package (flashinfer-python, torch, flash-attn) and runs in a process of its own (peer_runner.py), so that one that
crashes or loses the device takes nothing with it. One that isn't there is listed as "not installed", one that can't run an input as "n/a" with
its reason; however it ends, what was measured is printed and written. Times: a CUDA graph where the peer can be captured, L2 emptied of what
was read and written before each run, 5 runs to warm up, the median of 20. "plan" is the peer's own planning on the host, timed apart and
included in "in all". Rows are checked against fp32 attention. --warm compiles what FlashInfer would compile on first use (minutes) into a
folder, without a GPU; a later run takes it from --cache, by default the folder peer-cache beside this file or build/peer-cache of the
checkout. Timing needs a GPU; --warm, --list and the tests don't. The standard library only; packages are the runner's.
"""
import argparse
import csv
import importlib.metadata
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time

from peer_methods import PEERS

DTYPE_BYTES = {"bf16": 2, "fp16": 2}
DISTRIBUTIONS = {"flashinfer": "flashinfer-python", "torch": "torch", "flash_attn": "flash-attn"}
HERE = os.path.dirname(os.path.abspath(__file__))
RUNNER = [sys.executable, "-B", os.path.join(HERE, "peer_runner.py")]
NO_DEVICE, DEVICE_LOST = 4, 5  # exit codes of a runner
GRACE = 20  # seconds that a runner may take longer than it was told


class OutOfTime(BaseException):
    """The caller ended us: what was measured is still printed."""


def end_early(*_):
    raise OutOfTime


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0][:160]


# --- forests, page tables, bytes ---------------------------------------------------------------------------------------------------------

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
        rows = [r for r in csv.DictReader(file) if r["heads"] == heads and r["strategy"] == strategy and r["status"] == "ok" and r["median_us"]]
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


# --- peers, each in a process of its own -------------------------------------------------------------------------------------------------

def version(module):
    """Of the package that holds the module; None: not installed. Imports nothing: packages may fail in their own ways."""
    package = module.split(".")[0]
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.metadata.version(DISTRIBUTIONS[package])
    except importlib.metadata.PackageNotFoundError:
        return "installed"


def default_cache():
    for folder in (os.path.join(HERE, "peer-cache"), os.path.join(HERE, "..", "..", "build", "peer-cache")):
        if os.path.isdir(folder):
            return os.path.realpath(folder)
    return None


def environment(cache, arch=None):
    """Where packages keep what they compile."""
    env = dict(os.environ)
    if cache:
        cache = os.path.abspath(cache)
        env.update(FLASHINFER_WORKSPACE_BASE=cache, TRITON_CACHE_DIR=os.path.join(cache, "triton"), TORCHINDUCTOR_CACHE_DIR=os.path.join(cache, "inductor"))
    if arch:
        env["FLASHINFER_CUDA_ARCH_LIST"] = arch
    return env


def read_lines(path):
    """What a runner has written so far; it may have ended in the middle of a line."""
    lines = []
    try:
        with open(path) as file:
            for line in file:
                if line.endswith("\n"):
                    lines.append(json.loads(line))
    except OSError:
        pass
    return lines


def ended(code, errors):
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    said = [line for line in errors.splitlines() if line.strip()]
    return f"n/a: its process ended with {how}" + (f": {said[-1].strip()[:120]}" if said else "")


def run_process(command, seconds, env):
    """(exit code or None when out of time, last words). The process is ended with us."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=sys.stderr, stderr=errors, env=env)
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        errors.seek(0)
        return code, errors.read()[-4000:]


class NoDevice(Exception):
    pass


def run_peer(label, inputs, options, seconds, out):
    """Rows of one peer on all inputs, appended to out["rows"]; `inputs`: (path, name). After a crash it goes on with the input behind the one that crashed."""
    begin, left = time.monotonic(), list(inputs)
    while left:
        remaining = seconds - (time.monotonic() - begin) if seconds else None
        if remaining is not None and remaining <= 0:
            break
        with tempfile.TemporaryDirectory() as folder:
            written = os.path.join(folder, "rows.jsonl")
            command = [*options.runner, "--peer", label, "--heads", options.heads.text, "--dtype", options.dtype, "--page-size", str(options.page_size), "--rows", written]
            if remaining is not None:
                command += ["--seconds", f"{remaining:.1f}"]
            code, errors, lines = None, "", []
            try:
                code, errors = run_process(command + [path for path, _ in left], remaining + GRACE if remaining else None, environment(options.cache))
            finally:
                lines = read_lines(written)
                out["rows"] += [line["row"] for line in lines if "row" in line]
                for line in lines:
                    out["info"].update(line.get("info", {}))
        if code == NO_DEVICE:
            raise NoDevice(errors.strip().splitlines()[-1] if errors.strip() else "no CUDA device")
        done = {line["done"] for line in lines if "done" in line}
        left = [i for i in left if i[0] not in done]
        if code in (0, None):
            break
        # One that lost the device behind an input's last row has said all of that input.
        if left and not (code == DEVICE_LOST and done):
            path, name = left.pop(0)
            out["rows"].append({"input": name, "peer": label, "note": ended(code, errors)})
    out["rows"] += [{"input": name, "peer": label, "note": "out of time"} for _, name in left]


def measure(inputs, options, out):
    """All peers, each with its share of what time is left."""
    begin = time.monotonic()
    for place, (label, module, _) in enumerate(PEERS):
        if version(module) is None:
            out["rows"] += [{"input": name, "peer": label, "note": "not installed"} for _, name in inputs]
            continue
        seconds = 0
        if options.seconds:
            seconds = max(0.001, (options.seconds - (time.monotonic() - begin)) / (len(PEERS) - place))
        run_peer(label, inputs, options, seconds, out)


# --- the command ---------------------------------------------------------------------------------------------------------------------------

def report(out, forests, options, ours, ceiling):
    versions = {module: version(module) for _, module, _ in PEERS}
    rows = finish(out["rows"], forests, options.heads, options.dtype, ours, ceiling)
    print(table(rows), flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"schema": "peers/1", "heads": options.heads.text, "dtype": options.dtype, "page_size": options.page_size, "ceiling_gb_per_s": ceiling,
                       "versions": versions, **out["info"], "rows": rows, "geometric_means": geometric_means(rows)}, file, indent=1)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--heads", type=Heads, default=Heads("32/8/128"))
    parser.add_argument("--dtype", choices=sorted(DTYPE_BYTES), default="bf16")
    parser.add_argument("--page-size", type=int, default=1)
    parser.add_argument("--ours", action="append", default=[], help="results.csv of espalier measure (repeatable)")
    parser.add_argument("--calibration", help="measurement/1 with streaming probes: their fastest read is the ceiling")
    parser.add_argument("--ceiling", type=float, help="GB/s")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--json")
    parser.add_argument("--cache", default=default_cache(), help="folder that --warm has filled")
    parser.add_argument("--warm", metavar="FOLDER", help="compile FlashInfer's kernels into it and end")
    parser.add_argument("--arch", default="9.0a", help="what --warm compiles for")
    parser.add_argument("--list", action="store_true", help="which peers are installed")
    parser.set_defaults(runner=RUNNER)
    return parser.parse_args(arguments)


def warm(options):
    if version("flashinfer") is None:
        print("peers.py: flashinfer-python isn't installed: nothing to compile", file=sys.stderr)
        return 2
    command = [*options.runner, "--warm", "--heads", options.heads.text, "--dtype", options.dtype]
    return subprocess.call(command, env=environment(options.warm, options.arch))


def measured(inputs, forests, options):
    """Exit code. Whatever ends the measuring, what there is by then is printed and written first."""
    ceiling = options.ceiling
    if options.calibration:
        try:
            with open(options.calibration) as file:
                ceiling = ceiling_of(json.load(file))
        except (OSError, ValueError, KeyError) as error:
            print(f"peers.py: no ceiling from {options.calibration}: {first_line(error)}", file=sys.stderr)
    out = {"rows": [], "info": {}}
    ours = {}
    for path in options.ours:
        try:
            ours.update(read_ours(path, options.heads.text))
        except (OSError, ValueError, KeyError) as error:
            print(f"peers.py: no times of ours from {path}: {first_line(error)}", file=sys.stderr)
    try:
        measure(inputs, options, out)
    except NoDevice as error:
        print(f"peers.py: {error}", file=sys.stderr)
        return NO_DEVICE
    except OutOfTime:
        out["rows"].append({"input": "the rest", "peer": "all", "note": "out of time"})
    finally:
        if out["rows"]:
            report(out, forests, options, ours, ceiling)
    return 0


def main(arguments):
    options = parse(arguments)
    if options.list:
        for label, module, _ in PEERS:
            print(f"{label}: {version(module) or 'not installed'}")
        return 0
    if options.warm:
        return warm(options)
    inputs, forests = [], []
    for path in options.inputs:
        with open(path) as file:
            forests.append(read_forests(path, file.read()))
        inputs.append((path, forests[-1].name))
    signal.signal(signal.SIGTERM, end_early)
    return measured(inputs, forests, options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
