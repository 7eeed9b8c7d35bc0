#!/usr/bin/env python3
"""One peer on some forests: what peers.py starts, in a process of its own.

Writes a JSON line for everything as soon as it is known: {"info": ...} once, {"row": ...} a way of running an input, {"done": path} behind an
input's last. A peer that loses the device ends the process behind that line; peers.py goes on with the next input in a new one.
"""
import argparse
import importlib
import json
import os
import statistics
import sys
import time

import peers
from peer_methods import PEERS, Case, flashinfer_modules

WARM_UPS, REPEATS = 5, 20
TOLERANCE = 2e-2


class DeviceLost(Exception):
    pass


def is_out_of_memory(error):
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def reason(error):
    return "n/a: memory" if is_out_of_memory(error) else f"n/a: {peers.first_line(error)}"


def settle(torch):
    """After a failure: is the device still there?"""
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except Exception as error:
        raise DeviceLost from error


class Flush:
    """Empties L2 of what runs read and wrote: overwrites twice its size, then reads as much that is clean, since lines that are still to be
    written back would cost the next run up to 17 us."""

    KIND = "overwrite, then read clean"

    def __init__(self, torch):
        l2 = torch.cuda.get_device_properties(0).L2_cache_size
        self.bytes = 2 * l2
        self.torch = torch
        self.dirty = torch.empty(self.bytes // 4, dtype=torch.float32, device="cuda")
        self.clean = torch.zeros(self.bytes // 4, dtype=torch.float32, device="cuda")
        self.sum = torch.empty((), dtype=torch.float32, device="cuda")

    def __call__(self, turn):
        self.dirty.fill_(turn)
        self.torch.sum(self.clean, dim=0, out=self.sum)


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
        settle(torch)
        return run, "no graph"


def times(torch, run, flush):
    us = []
    for turn in range(WARM_UPS + REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush(turn)
        begin.record()
        run()
        end.record()
        end.synchronize()
        if turn >= WARM_UPS:
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


def run_way(torch, reference, way, flush):
    """A row, all but its names."""
    _, plan, run, order = way
    if plan:
        plan()
    rows = (order(run()) if order else run()).float()
    error = ((rows - reference).norm(dim=-1) / reference.norm(dim=-1)).max().item()
    if not error <= TOLERANCE:
        return {"note": f"wrong: rows differ by {error:.2g}"}
    replay, note = captured(torch, run)
    us = times(torch, replay, flush)
    return {"us": statistics.median(us), "plan_us": plan_times(torch, plan) if plan else None, "repeats": len(us), "note": note}


def run_case(torch, case, label, package, flush):
    """Rows of all ways of a peer; what fails says why, and the others still run."""
    make = next(make for known, _, make in PEERS if known == label)
    names = {"input": case.forest.name, "peer": label}
    try:
        ways, reference = make(case, package), case.reference()
    except Exception as error:
        yield {**names, "note": reason(error)}
        settle(torch)
        return
    for way in ways:
        names["peer"] = label
        try:
            # Some are made only when their turn has come, so that one that can't be doesn't end the others.
            way = way() if callable(way) else way
            names["peer"] = way[0]
            yield {**names, **run_way(torch, reference, way, flush)}
        except DeviceLost:
            raise
        except Exception as error:
            yield {**names, "note": reason(error)}
            settle(torch)


def measure(torch, package, options, write):
    begin = time.monotonic()
    flush = Flush(torch)
    write({"info": {"device": torch.cuda.get_device_name(0), "flush": {"kind": Flush.KIND, "bytes": flush.bytes},
                    "warm_ups": WARM_UPS, "repeats": REPEATS}})
    for path in options.inputs:
        if options.seconds and time.monotonic() - begin > options.seconds:
            return
        with open(path) as file:
            forest = peers.read_forests(path, file.read())
        try:
            case = Case(torch, forest, options.heads, options.dtype, peers.PageTable(forest, options.page_size))
        except Exception as error:
            write({"row": {"input": forest.name, "peer": options.peer, "note": reason(error)}}, {"done": path})
            settle(torch)
            continue
        try:
            for row in run_case(torch, case, options.peer, package, flush):
                write({"row": row})
        finally:
            write({"done": path})
        del case
        settle(torch)


def libraries(folder):
    return {os.path.join(at, file) for at, _, files in os.walk(folder) for file in files if file.endswith(".so")}


def warm(torch, package, options):
    """Compiles FlashInfer's modules where its cache is; peers.py has said where. One that can't be loaded without a driver is compiled all the same."""
    folder = str(importlib.import_module("flashinfer.jit.env").FLASHINFER_JIT_DIR)
    failed = 0
    for name, build in flashinfer_modules(torch, package, options.heads.dim, options.dtype):
        begin, before, said = time.monotonic(), libraries(folder), ""
        try:
            build()
        except Exception as error:
            if libraries(folder) == before:
                failed += 1
                said = f", n/a: {peers.first_line(error)}"
        print(f"{name}: {time.monotonic() - begin:.0f} s{said}", flush=True)
    return 1 if failed else 0


def import_peer(label):
    module = next(module for known, module, _ in PEERS if known == label)
    package = importlib.import_module(module)
    if module == "flashinfer":
        # What was compiled ahead counts as shipped with the package: neither ninja nor nvcc nor equal time stamps are asked for.
        env = importlib.import_module("flashinfer.jit.env")
        env.FLASHINFER_AOT_DIR = env.FLASHINFER_JIT_DIR
    return package


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--peer", choices=[label for label, _, _ in PEERS])
    parser.add_argument("--heads", type=peers.Heads, required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--page-size", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--rows")
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args(arguments)
    torch = importlib.import_module("torch")
    if options.warm:
        return warm(torch, importlib.import_module("flashinfer"), options)
    if not torch.cuda.is_available():
        print("torch sees no CUDA device", file=sys.stderr)
        return peers.NO_DEVICE
    with open(options.rows, "a") as file:
        def write(*lines):
            for line in lines:
                file.write(json.dumps(line) + "\n")
            file.flush()

        try:
            measure(torch, import_peer(options.peer), options, write)
        except DeviceLost as error:
            print(f"the device was lost: {peers.first_line(error.__cause__)}", file=sys.stderr)
            return peers.DEVICE_LOST
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
