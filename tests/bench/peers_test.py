"""What peers.py builds and adds up without a GPU, or any package. Run by ctest where there is a Python."""
import contextlib
import io
import json
import os
import sys
import tempfile
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peer_methods  # noqa: E402
import peer_runner  # noqa: E402
import peers  # noqa: E402

#       0(8) -> 1(4) -> requests 0, 2      3(16): a root of its own with request 3
#            -> 2(2) -> request 1
TREE = dict(parent=[-1, 0, 0, -1], tokens=[8, 4, 2, 16], leaf=[1, 2, 1, 3])


def tree(**changes):
    return peers.Forest("tree", **{**TREE, **changes})


class Forests(unittest.TestCase):
    def test_requests_are_in_depth_first_order(self):
        forest = tree(batch_position=[3, 0, 1, 2])
        self.assertEqual(forest.leaf, [1, 1, 2, 3])
        self.assertEqual(forest.batch_position, [3, 1, 0, 2])
        self.assertEqual(forest.paths, [[0, 1], [0, 1], [0, 2], [3]])

    def test_bytes_count_shared_nodes_once(self):
        forest = tree()
        self.assertEqual(forest.unique_tokens, 30)
        self.assertEqual(forest.logical_tokens, 12 + 12 + 10 + 16)
        self.assertEqual(peers.Heads("32/8/128").kv_bytes(30, "bf16"), 30 * 8 * 128 * 2 * 2)

    def test_forest_and_plan_files_are_read(self):
        line = json.dumps({**TREE, "name": "f", "snapshot": 0})
        for text in (line, line + "\n" + line, json.dumps({"schema": "plan/1", "forest": {**TREE, "name": "f"}})):
            forest = peers.read_forests("x.jsonl", text)
            self.assertEqual((forest.name, forest.unique_tokens), ("f", 30))

    def test_a_cycle_is_refused(self):
        with self.assertRaises(ValueError):
            peers.Forest("x", [1, 0], [1, 1], [0])


class PageTables(unittest.TestCase):
    def test_pages_of_shared_nodes_are_shared(self):
        forest = tree()
        table = peers.PageTable(forest, 1)
        indptr, indices, last = table.rows(forest, forest.paths)
        self.assertEqual(table.pages, 30)
        self.assertEqual(indptr, [0, 12, 24, 34, 50])
        self.assertEqual(indices[0:12], indices[12:24])
        self.assertEqual(indices[24:34], list(range(8)) + [12, 13])
        self.assertEqual(last, [1, 1, 1, 1])

    def test_last_pages_may_be_partial_and_shared_ones_not(self):
        forest = tree()
        table = peers.PageTable(forest, 8)
        indptr, indices, last = table.rows(forest, forest.paths)
        self.assertEqual(indptr, [0, 2, 4, 6, 8])
        self.assertEqual(indices, [0, 1, 0, 1, 0, 2, 3, 4])
        self.assertEqual(last, [4, 4, 2, 8])
        with self.assertRaisesRegex(ValueError, "node 0 has 8 tokens"):
            peers.PageTable(forest, 16)

    def test_cascades_group_requests_by_their_nodes(self):
        uniform = peers.Forest("u", [-1, 0, 0, 1, 1, 2], [8, 4, 4, 2, 2, 2], [3, 4, 5])
        ways = uniform.cascades()
        self.assertEqual(ways["2 levels"][0], [(0, 3, (0,))])
        self.assertEqual(ways["2 levels"][1][2], (2, 3, (2, 5)))
        self.assertEqual(ways["3 levels"][1], [(0, 2, (1,)), (2, 3, (2,))])
        self.assertEqual(tree().cascades(), {}, "request 3 has a root of its own and nothing below")
        for levels in ways.values():
            tokens = [0, 0, 0]
            for level in levels:
                for begin, end, nodes in level:
                    for r in range(begin, end):
                        tokens[r] += sum(uniform.tokens[n] for n in nodes)
            self.assertEqual(tokens, [uniform.context(r) for r in range(3)])


class Tables(unittest.TestCase):
    def rows(self):
        rows = [dict(input="tree", peer="a", us=10.0, plan_us=5.0), dict(input="tree", peer="b", us=40.0), dict(input="tree", peer="c", note="not installed")]
        return peers.finish(rows, [tree()], peers.Heads("2/1/64"), "bf16", {"tree": 20.0}, 2.0)

    def test_rows_say_rate_share_and_ratio(self):
        a, b, c = self.rows()
        self.assertEqual(a["in_all_us"], 15.0)
        self.assertAlmostEqual(a["unique_gb_per_s"], 30 * 64 * 4 / 10 / 1e3)
        self.assertAlmostEqual(a["share_of_ceiling"], a["unique_gb_per_s"] / 2)
        self.assertEqual((a["over_ours"], b["over_ours"]), (0.5, 2.0))
        self.assertNotIn("over_ours", c)

    def test_means_are_geometric_and_over_what_ran(self):
        rows = self.rows() + peers.finish([dict(input="tree", peer="a", us=40.0)], [tree()], peers.Heads("2/1/64"), "bf16", {"tree": 20.0}, None)
        self.assertAlmostEqual(peers.geometric_means(rows)["a"][0], 1.0)
        self.assertEqual(peers.geometric_means(rows)["a"][1], 2)
        text = peers.table(rows)
        self.assertIn("not installed", text)
        self.assertIn("a: 1.00x our time, geometric mean of 2 inputs", text)

    def test_the_ceiling_is_the_fastest_read(self):
        family = lambda name, size, us: {"id": name, "parameters": {"bytes": size}, "median_us": us}
        self.assertEqual(peers.ceiling_of({"families": [family("C1", [1e9, 3e9], [1e3, 1e3]), family("C5", [9e9], [1e3]), family("C3", [2e9], [1e3])]}), 3000.0)

    def test_our_times_are_found_by_heads_and_strategy(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "results.csv")
            with open(path, "w") as file:
                file.write('input,heads,strategy,status,median_us\n"1,2|8,4",2/1/64,"espalier",ok,7.5\n"1,2|8,4",4/1/64,"espalier",ok,9\n"x",2/1/64,"espalier",failed,\n"y",2/1/64,"espalier",wrong,3\n')
            self.assertEqual(peers.read_ours(path, "2/1/64"), {"1,2|8,4": 7.5})


# A runner that does what the name of its input says.
RUNNER = """
import json, os, signal, sys, time
arguments = sys.argv[1:]
rows = arguments[arguments.index("--rows") + 1]
inputs = [a for a in arguments if a.endswith(".jsonl") and a != rows]
peer = arguments[arguments.index("--peer") + 1]
for path in inputs:
    with open(rows, "a") as file:
        print(json.dumps({"info": {"flush": {"kind": "fake"}}}), file=file)
        print(json.dumps({"row": {"input": os.path.basename(path), "peer": peer, "us": 1.0}}), file=file)
        if "crash" in path:
            file.write('{"row": {"input": "cut o')
            file.flush()
            print("the last word", file=sys.stderr)
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in path:
            file.flush()
            time.sleep(60)
        if "lost" in path:
            print(json.dumps({"done": path}), file=file, flush=True)
            sys.exit(5)
        if "nothing" in path:
            print("torch sees no CUDA device", file=sys.stderr)
            sys.exit(4)
        print(json.dumps({"done": path}), file=file)
"""


class Processes(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        runner = self.path("runner.py")
        with open(runner, "w") as file:
            file.write(RUNNER)
        self.options = peers.parse([])
        self.options.runner = [sys.executable, runner]
        self.out = {"rows": [], "info": {}}

    def path(self, name):
        return os.path.join(self.folder, name)

    def run_peer(self, *names, seconds=0):
        peers.run_peer("a", [(self.path(n + ".jsonl"), n) for n in names], self.options, seconds, self.out)
        return [(r["input"].removesuffix(".jsonl"), r.get("note", "ran")) for r in self.out["rows"]]

    def test_a_crash_costs_one_input(self):
        self.assertEqual(self.run_peer("one", "crash", "three"),
                         [("one", "ran"), ("crash", "ran"), ("crash", "n/a: its process ended with signal 11: the last word"), ("three", "ran")])
        self.assertEqual(self.out["info"], {"flush": {"kind": "fake"}})

    def test_a_lost_device_is_taken_up_again_behind_the_input(self):
        self.assertEqual(self.run_peer("one", "lost", "three"), [("one", "ran"), ("lost", "ran"), ("three", "ran")])

    def test_what_hangs_is_ended(self):
        keep, peers.GRACE = peers.GRACE, 0.1
        try:
            rows = self.run_peer("one", "hang", "three", seconds=1.5)
        finally:
            peers.GRACE = keep
        self.assertEqual(rows, [("one", "ran"), ("hang", "ran"), ("hang", "out of time"), ("three", "out of time")])

    def test_no_device_is_said_once(self):
        with self.assertRaisesRegex(peers.NoDevice, "torch sees no CUDA device"):
            self.run_peer("nothing", "two")

    def test_caches_are_where_the_packages_look(self):
        env = peers.environment("cache", "9.0a")
        self.assertEqual(env["FLASHINFER_WORKSPACE_BASE"], os.path.abspath("cache"))
        self.assertEqual(env["FLASHINFER_CUDA_ARCH_LIST"], "9.0a")
        self.assertEqual(dict(os.environ), peers.environment(None))


class Commands(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.json, self.forest = os.path.join(folder.name, "out.json"), os.path.join(folder.name, "f.jsonl")
        with open(self.forest, "w") as file:
            json.dump({**TREE, "name": "f"}, file)

    def main(self, measure, version="1.0"):
        kept = peers.measure, peers.version
        peers.measure, peers.version = measure or peers.measure, lambda module: version
        try:
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
                self.code = peers.main([self.forest, "--json", self.json])
                self.list_code = peers.main(["--list"])
        finally:
            peers.measure, peers.version = kept
        return out.getvalue()

    def notes(self):
        with open(self.json) as file:
            return [r.get("note", "ran") for r in json.load(file)["rows"]]

    @staticmethod
    def one_row_then(error):
        def measure(_, __, out):
            out["rows"].append({"input": "f", "peer": "a", "us": 1.0})
            raise error
        return measure

    def test_what_was_measured_before_the_end_is_kept(self):
        self.main(self.one_row_then(peers.OutOfTime()))
        self.assertEqual((self.code, self.notes()), (0, ["ran", "out of time"]))

    def test_what_was_measured_before_a_failure_is_kept(self):
        with self.assertRaises(RuntimeError):
            self.main(self.one_row_then(RuntimeError("anything")))
        self.assertEqual(self.notes(), ["ran"])

    def test_no_device_is_an_exit_code(self):
        self.main(self.one_row_then(peers.NoDevice("none")))
        self.assertEqual(self.code, 4)

    def test_what_is_missing_is_listed(self):
        out = self.main(None, version=None)
        self.assertEqual((self.code, self.list_code), (0, 0))
        self.assertEqual(self.notes(), ["not installed"] * len(peers.PEERS))
        self.assertIn("flashinfer BatchAttention: not installed", out)


class OutOfMemoryError(RuntimeError):
    """Called as torch's is."""


def fake_torch(**more):
    """As much of torch as is asked."""
    cuda = types.SimpleNamespace(synchronize=lambda: None, empty_cache=lambda: None, mem_get_info=lambda: (1 << 40, 1 << 40),
                                 get_device_properties=lambda _: types.SimpleNamespace(L2_cache_size=1000))
    tensor = lambda values, dtype, device: types.SimpleNamespace(values=list(values), device=device)
    return types.SimpleNamespace(**{"cuda": cuda, "tensor": tensor, "int32": "int32", "float32": "float32", "bfloat16": "bf16", "uint8": "u8", **more})


class Rows:
    """A result that is as near the reference as `error` says."""

    def __init__(self, error=0.0):
        self.error = error

    def float(self):
        return self

    def __sub__(self, _):
        return self

    def norm(self, dim):
        return self

    def __truediv__(self, _):
        return self

    def max(self):
        return self

    def item(self):
        return self.error


class Cases(unittest.TestCase):
    """One peer's runs, with whatever can go wrong in them."""

    def rows(self, ways, torch=None):
        def failing(error):
            raise error

        case = types.SimpleNamespace(forest=types.SimpleNamespace(name="f"), reference=lambda: Rows())
        kept = peer_runner.PEERS, peer_runner.captured, peer_runner.times
        peer_runner.PEERS = [("a", "package", ways if callable(ways) else lambda *_: failing(ways))]
        peer_runner.captured, peer_runner.times = (lambda _, run: (run, "graph")), (lambda *_: [3.0, 1.0, 2.0])
        try:
            return [(r["peer"], r.get("us"), r["note"]) for r in peer_runner.run_case(torch or fake_torch(), case, "a", None, None)]
        finally:
            peer_runner.PEERS, peer_runner.captured, peer_runner.times = kept

    def test_what_fails_says_why_and_the_others_run(self):
        def out_of_memory():
            raise OutOfMemoryError("tried to allocate much")

        def unmade():
            raise ValueError("no such backend\nand more")

        ways = [("first", None, out_of_memory, None), unmade, ("wrong", None, lambda: Rows(0.5), None), lambda: ("late", None, Rows, None)]
        self.assertEqual(self.rows(lambda *_: ways), [("first", None, "n/a: memory"), ("a", None, "n/a: no such backend"),
                                                      ("wrong", None, "wrong: rows differ by 0.5"), ("late", 2.0, "graph")])

    def test_a_peer_that_cannot_be_made_is_a_row(self):
        self.assertEqual(self.rows(MemoryError()), [("a", None, "n/a: memory")])
        self.assertEqual(self.rows(TypeError("plan() got an unexpected argument")), [("a", None, "n/a: plan() got an unexpected argument")])

    def test_a_lost_device_ends_the_process_behind_its_row(self):
        def lost():
            raise RuntimeError("an illegal memory access was encountered")

        torch = fake_torch()
        torch.cuda.synchronize = lost
        seen = []
        with self.assertRaises(peer_runner.DeviceLost):
            case = types.SimpleNamespace(forest=types.SimpleNamespace(name="f"), reference=lambda: Rows())
            kept, peer_runner.PEERS = peer_runner.PEERS, [("a", "package", lambda *_: [("way", None, lost, None)])]
            try:
                seen.extend(iter(peer_runner.run_case(torch, case, "a", None, None)))
            finally:
                peer_runner.PEERS = kept

    def test_the_flush_overwrites_and_reads_twice_the_cache(self):
        done = []
        buffer = lambda size, **_: types.SimpleNamespace(bytes=4 * size if size != () else 4, fill_=lambda turn: done.append(("overwritten", 4 * size)))
        torch = fake_torch(empty=buffer, zeros=buffer, sum=lambda x, dim, out: done.append(("read", x.bytes)))
        flush = peer_runner.Flush(torch)
        flush(7)
        self.assertEqual(done, [("overwritten", 2000), ("read", 2000)])


class Methods(unittest.TestCase):
    """What the peers are handed, without them."""

    def case(self, torch, **more):
        forest = tree(batch_position=[3, 0, 1, 2])
        case = peer_methods.Case.__new__(peer_methods.Case)
        case.__dict__.update(torch=torch, forest=forest, heads=peers.Heads("4/2/64"), pages=peers.PageTable(forest, 1), dtype="bf16", k="k", v="v",
                             q=types.SimpleNamespace(), order=[1, 2, 3, 0], **more)
        return case

    def test_planners_get_offsets_on_the_host(self):
        case = self.case(fake_torch())
        self.assertEqual([x.device for x in case.page_rows(case.batch_rows())], ["cpu", "cuda", "cpu"])

    def test_cascades_are_told_the_type_of_their_kv(self):
        class Old:
            def __init__(self, *_):
                pass

            def plan(self, queries, indptr, indices, last, q, kv, dim, page_size, q_data_type=None):
                planned.append((self, [x.device for x in queries + indptr + indices + last], q_data_type, None))

        class New(Old):
            def plan(self, queries, indptr, indices, last, q, kv, dim, page_size, q_data_type=None, kv_data_type=None):
                planned.append((self, [x.device for x in queries + indptr + indices + last], q_data_type, kv_data_type))

        planned = []
        for wrapper in (Old, New):
            forest = peers.Forest("u", [-1, 0, 0], [8, 4, 4], [1, 2])
            case = self.case(fake_torch(empty=lambda *_, **__: None))
            case.forest, case.pages = forest, peers.PageTable(forest, 1)
            [(name, plan, _, _)] = peer_methods.flashinfer_cascade(case, types.SimpleNamespace(MultiLevelCascadeAttentionWrapper=wrapper))
            plan()
            self.assertEqual(name, "flashinfer cascade, 2 levels")
        self.assertEqual([p[2:] for p in planned], [("bf16", None), ("bf16", "bf16")])
        self.assertEqual(planned[0][1], ["cpu"] * 4 + ["cuda"] * 2 + ["cpu"] * 2)

    def test_flex_forgets_what_it_compiled_for_other_forests(self):
        resets = []
        case = self.case(fake_torch(_dynamo=types.SimpleNamespace(reset=lambda: resets.append(1))))
        case.pages = peers.PageTable(case.forest, 2)
        for _ in range(2):
            with self.assertRaisesRegex(ValueError, "pages of one token"):
                peer_methods.torch_flex(case, None)
        self.assertEqual(len(resets), 2)

    def sdpa(self, refusing):
        class Tensor:
            def __init__(self, heads):
                self.heads, self.shape = heads, (4, 8)

            def __getitem__(self, _):
                return self

            def __lt__(self, _):
                return self

            def all(self):
                return True

            def transpose(self, *_):
                return self

            def repeat_interleave(self, times, dim):
                return Tensor(self.heads * times)

        active = []

        @contextlib.contextmanager
        def sdpa_kernel(backend):
            active.append(backend)
            yield
            active.pop()

        def attend(q, k, v, attn_mask, enable_gqa=False):
            if enable_gqa and active[-1] in refusing:
                raise RuntimeError("No available kernel")
            calls.append((active[-1], k.heads, enable_gqa))
            return q

        calls = []
        attention = types.SimpleNamespace(SDPBackend=types.SimpleNamespace(FLASH_ATTENTION="flash", EFFICIENT_ATTENTION="efficient"), sdpa_kernel=sdpa_kernel)
        functional = types.SimpleNamespace(scaled_dot_product_attention=attend)
        torch = fake_torch(nn=types.SimpleNamespace(functional=functional, attention=attention), arange=lambda *_, **__: Tensor(1))
        case = self.case(torch, dense=lambda: (Tensor(2), Tensor(2), Tensor(2)))
        case.q = Tensor(4)
        names = []
        for make in peer_methods.torch_sdpa(case, torch):
            way = make()
            names.append(way[0])
            calls.clear()
            way[2]()
        return names, calls

    def test_sdpa_runs_by_backends_of_a_name(self):
        names, calls = self.sdpa(refusing=["efficient"])
        self.assertEqual(names, ["torch SDPA flash, padded", "torch SDPA efficient, padded, KV repeated"])
        self.assertEqual(calls, [("efficient", 4, False)])
        names, calls = self.sdpa(refusing=[])
        self.assertEqual(names[1], "torch SDPA efficient, padded")
        self.assertEqual(calls, [("efficient", 2, True)])


class Warming(unittest.TestCase):
    def warm(self, failing):
        with tempfile.TemporaryDirectory() as folder:
            env = types.SimpleNamespace(FLASHINFER_JIT_DIR=folder, FLASHINFER_AOT_DIR="package")

            def build(name, compiles, loads):
                if compiles:
                    open(os.path.join(folder, name + ".so"), "w").close()
                if not loads:
                    raise RuntimeError("libcuda.so.1: cannot open shared object file")

            def getter(name):
                return lambda *_: build(name, name not in failing, False)

            package = types.SimpleNamespace(
                decode=types.SimpleNamespace(get_batch_decode_module=getter("decode")), prefill=types.SimpleNamespace(get_batch_prefill_module=lambda backend, *_: getter(backend)()),
                cascade=types.SimpleNamespace(get_cascade_module=getter("merge")), attention=types.SimpleNamespace(get_holistic_attention_module=getter("batch")))
            kept = peer_runner.importlib
            peer_runner.importlib = types.SimpleNamespace(import_module=lambda name: {"flashinfer.jit.env": env, "flashinfer": package}[name])
            try:
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    code = peer_runner.warm(fake_torch(float16="fp16"), package, types.SimpleNamespace(heads=peers.Heads("8/2/128"), dtype="bf16"))
                    self.assertIs(peer_runner.import_peer("flashinfer decode"), package)
                self.assertEqual(env.FLASHINFER_AOT_DIR, folder, "what was compiled is found without a compiler")
            finally:
                peer_runner.importlib = kept
        return code, out.getvalue()

    def test_what_compiles_counts_though_no_driver_loads_it(self):
        self.assertEqual(self.warm([])[0], 0)

    def test_what_does_not_compile_is_named(self):
        code, out = self.warm(["fa3"])
        self.assertEqual(code, 1)
        self.assertIn("cascade on Hopper: 0 s, n/a: libcuda.so.1", out)
        self.assertEqual(out.count("n/a"), 1)


if __name__ == "__main__":
    unittest.main()
