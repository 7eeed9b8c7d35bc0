"""What peers.py builds and adds up without a GPU, or any package. Run by ctest where there is a Python."""
import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
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
                file.write('input,heads,strategy,status,median_us\n"1,2|8,4",2/1/64,"espalier",ok,7.5\n"1,2|8,4",4/1/64,"espalier",ok,9\n"x",2/1/64,"espalier",failed,\n')
            self.assertEqual(peers.read_ours(path, "2/1/64"), {"1,2|8,4": 7.5})


class Cuda:
    """As much of torch.cuda as is asked before a peer runs."""
    empty_cache = staticmethod(lambda: None)
    get_device_properties = staticmethod(lambda _: type("Properties", (), {"L2_cache_size": 1}))


class Commands(unittest.TestCase):
    def test_what_was_measured_before_the_end_is_kept(self):
        def one_row_then_the_end(*_):
            yield {"input": "tree", "peer": "a", "us": 1.0}
            peers.end_early()

        torch = type("Torch", (), {"cuda": Cuda, "int8": None, "empty": staticmethod(lambda *_, **__: None)})
        options = type("Options", (), {"seconds": 0, "heads": None, "dtype": "bf16", "page_size": 1})
        peers.Case, case, peers.run_case, run = (lambda *_: None), peers.Case, one_row_then_the_end, peers.run_case
        try:
            rows = peers.measure(torch, [tree(), tree()], {}, options)
        finally:
            peers.Case, peers.run_case = case, run
        self.assertEqual([r.get("note", "ran") for r in rows], ["ran", "out of time"])

    def test_what_is_missing_is_listed(self):
        peers.import_or_none, kept = (lambda name: None), peers.import_or_none
        out = io.StringIO()
        try:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out):
                path = os.path.join(folder, "f.jsonl")
                with open(path, "w") as file:
                    json.dump({**TREE, "name": "f"}, file)
                self.assertEqual(peers.main(["--list"]), 0)
                self.assertEqual(peers.main([path, "--json", os.path.join(folder, "out.json")]), 0)
                with open(os.path.join(folder, "out.json")) as file:
                    rows = json.load(file)["rows"]
        finally:
            peers.import_or_none = kept
        self.assertEqual([r["note"] for r in rows], ["not installed"] * len(peers.PEERS))
        self.assertIn("flashinfer BatchAttention: not installed", out.getvalue())


if __name__ == "__main__":
    unittest.main()
