"""The peers of peers.py: each takes a Case and gives [(name, plan or None, run, order or None)]. plan() is the peer's work on the host for a batch,
run() its kernels; order() brings rows of an engine's batch order back to depth first. Packages are handed in: nothing of theirs is imported here
but what hangs from them."""
import inspect


class Case:
    """An input on the device: q of all requests in depth-first order, pages of K and V."""

    def __init__(self, torch, forest, heads, dtype, pages):
        self.torch, self.forest, self.heads, self.pages = torch, forest, heads, pages
        page_size = pages.page_size
        self.dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
        free, _ = torch.cuda.mem_get_info()
        if 2 * self.pages.pages * page_size * heads.kv * heads.dim * 2 + (2 << 30) > free:
            raise MemoryError
        generator = torch.Generator(device="cuda").manual_seed(1)
        make = lambda *shape: torch.randn(*shape, device="cuda", dtype=self.dtype, generator=generator)
        self.q = make(len(forest.leaf), heads.q, heads.dim)
        self.k = make(self.pages.pages, page_size, heads.kv, heads.dim)
        self.v = make(self.pages.pages, page_size, heads.kv, heads.dim)
        # Engines keep their own order of requests.
        self.order = sorted(range(len(forest.leaf)), key=lambda r: forest.batch_position[r])

    def ints(self, values, device="cuda"):
        return self.torch.tensor(values, dtype=self.torch.int32, device=device)

    def batch_rows(self):
        return self.pages.rows(self.forest, [self.forest.paths[r] for r in self.order])

    def page_rows(self, rows):
        """As planners read them: offsets and last pages on the host, where they would be copied back to, page ids on the device."""
        indptr, indices, last = rows
        return self.ints(indptr, "cpu"), self.ints(indices), self.ints(last, "cpu")

    def reference(self):
        """Rows by fp32 attention of each request, depth first."""
        torch, forest = self.torch, self.forest
        flat_k, flat_v = self.k.flatten(0, 1), self.v.flatten(0, 1)
        out = torch.empty(self.q.shape, dtype=torch.float32, device="cuda")
        for r, path in enumerate(forest.paths):
            spans = [(self.pages.first[node] * self.pages.page_size, forest.tokens[node]) for node in path]
            k, v = (torch.cat([flat[first:first + n] for first, n in spans]).float() for flat in (flat_k, flat_v))
            q = self.q[r].float().view(self.heads.kv, -1, self.heads.dim)
            weights = (torch.einsum("hgd,nhd->hgn", q, k) / self.heads.dim ** 0.5).softmax(dim=-1)
            out[r] = torch.einsum("hgn,nhd->hgd", weights, v).reshape(self.heads.q, self.heads.dim)
        return out

    def in_batch_order(self):
        return self.q[self.order].contiguous()

    def depth_first(self, out):
        back = self.torch.empty_like(out)
        back[self.order] = out
        return back

    def dense(self):
        """K and V of every request on its own, padded to the longest."""
        torch, longest = self.torch, max(self.forest.context(r) for r in range(len(self.forest.leaf)))
        need = 2 * len(self.forest.leaf) * longest * self.heads.kv * self.heads.dim * 2
        if need + (1 << 30) > torch.cuda.mem_get_info()[0]:
            raise MemoryError
        k, v = (torch.zeros(len(self.forest.leaf), longest, self.heads.kv, self.heads.dim, device="cuda", dtype=self.dtype) for _ in range(2))
        flat_k, flat_v = self.k.flatten(0, 1), self.v.flatten(0, 1)
        for r, path in enumerate(self.forest.paths):
            at = 0
            for node in path:
                n, first = self.forest.tokens[node], self.pages.first[node] * self.pages.page_size
                k[r, at:at + n], v[r, at:at + n] = flat_k[first:first + n], flat_v[first:first + n]
                at += n
        lengths = self.ints([self.forest.context(r) for r in range(len(self.forest.leaf))])
        return k, v, lengths


def flashinfer_decode(case, fi):
    out = []
    for cores in (False, True):
        wrapper = fi.BatchDecodeWithPagedKVCacheWrapper(case.torch.empty(256 << 20, dtype=case.torch.uint8, device="cuda"), "NHD", use_tensor_cores=cores)
        rows = case.page_rows(case.batch_rows())
        q = case.in_batch_order()

        def plan(wrapper=wrapper, rows=rows):
            wrapper.plan(*rows, case.heads.q, case.heads.kv, case.heads.dim, case.pages.page_size, q_data_type=case.dtype, kv_data_type=case.dtype)

        out.append(("flashinfer decode" + (", tensor cores" if cores else ""), plan, lambda wrapper=wrapper, q=q: wrapper.run(q, (case.k, case.v)),
                    case.depth_first))
    return out


def flashinfer_cascade(case, fi):
    out = []
    for name, levels in case.forest.cascades().items():
        wrapper = fi.MultiLevelCascadeAttentionWrapper(len(levels), case.torch.empty(256 << 20, dtype=case.torch.uint8, device="cuda"), "NHD")
        queries = [case.ints([0] + [g[1] for g in level], "cpu") for level in levels]
        rows = [case.page_rows(case.pages.rows(case.forest, [g[2] for g in level])) for level in levels]
        # Older versions take the queries' dtype for both.
        kv = {"kv_data_type": case.dtype} if "kv_data_type" in inspect.signature(wrapper.plan).parameters else {}

        def plan(wrapper=wrapper, queries=queries, rows=rows, kv=kv):
            wrapper.plan(queries, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], case.heads.q, case.heads.kv, case.heads.dim,
                         case.pages.page_size, q_data_type=case.dtype, **kv)

        out.append((f"flashinfer cascade, {name}", plan, lambda wrapper=wrapper: wrapper.run(case.q, (case.k, case.v)), None))
    if not out:
        raise ValueError("no level that all requests share in")
    return out


def flashinfer_batch(case, fi):
    wrapper = fi.BatchAttention(kv_layout="NHD")
    indptr, indices, _ = case.batch_rows()
    lengths = [case.forest.context(r) for r in case.order]
    arguments = [case.ints(range(len(lengths) + 1), "cpu"), case.ints(indptr, "cpu"), case.ints(indices), case.ints(lengths, "cpu")]
    q = case.in_batch_order()

    def plan():
        wrapper.plan(*arguments, case.heads.q, case.heads.kv, case.heads.dim, case.heads.dim, case.pages.page_size, causal=False, q_data_type=case.dtype,
                     kv_data_type=case.dtype)

    return [("flashinfer BatchAttention", plan, lambda: wrapper.run(q, (case.k, case.v), logits_soft_cap=0.0)[0], case.depth_first)]


def flashinfer_modules(torch, fi, dim, dtype):
    """(name, what compiles and loads it) of all that the peers above need, as their own plan() asks for it."""
    of = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    # Query, KV, output and index types, both head dims, no rotary embedding, no window, no soft cap.
    common = (of, of, of, torch.int32, dim, dim, 0)
    return [("decode", lambda: fi.decode.get_batch_decode_module(*common, False, False)),
            ("tensor-core decode, cascade", lambda: fi.prefill.get_batch_prefill_module("fa2", *common, False, False, False)),
            ("cascade on Hopper", lambda: fi.prefill.get_batch_prefill_module("fa3", *common, False, False, False)),
            ("merges of a cascade", lambda: fi.cascade.get_cascade_module()),
            ("BatchAttention", lambda: fi.attention.get_holistic_attention_module(*common, False, False))]


SDPA_BACKENDS = ("CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH")


def torch_sdpa(case, torch):
    """A way for each backend, by name: left to itself, torch may choose another on another version. KV heads are repeated beforehand for those that
    don't take groups of queries."""
    k, v, lengths = case.dense()
    mask = (torch.arange(k.shape[1], device="cuda")[None, :] < lengths[:, None])[:, None, None, :]
    if bool(mask.all()):
        mask = None
    q, k, v = case.q[:, :, None, :], k.transpose(1, 2), v.transpose(1, 2)
    group = case.heads.q // case.heads.kv
    attend, attention = torch.nn.functional.scaled_dot_product_attention, torch.nn.attention

    def way(name):
        backend, expanded = getattr(attention.SDPBackend, name), {}

        def run():
            with attention.sdpa_kernel(backend):
                if not expanded:
                    return attend(q, k, v, attn_mask=mask, enable_gqa=group > 1)[:, :, 0]
                return attend(q, expanded["k"], expanded["v"], attn_mask=mask)[:, :, 0]

        label = f"torch SDPA {name.split('_')[0].lower()}, padded"
        if group > 1:
            try:
                run()
            except RuntimeError as error:
                if type(error).__name__ == "OutOfMemoryError":
                    raise
                expanded.update(k=k.repeat_interleave(group, dim=1), v=v.repeat_interleave(group, dim=1))
                label += ", KV repeated"
        return label, None, run, None

    return [lambda name=name: way(name) for name in SDPA_BACKENDS if hasattr(attention.SDPBackend, name)]


def torch_flex(case, flex):
    """One sequence of all tokens, read once; a request sees the tokens of its path's nodes."""
    torch, forest = case.torch, case.forest
    # Else torch would take the second forest's shape for one that varies, and compile other kernels for it than for the first.
    torch._dynamo.reset()
    if case.pages.page_size != 1:
        raise ValueError("takes pages of one token")
    node_of = torch.repeat_interleave(torch.arange(len(forest.tokens), device="cuda"), torch.tensor(forest.tokens, device="cuda"))
    sees = torch.zeros(len(forest.leaf), len(forest.tokens), dtype=torch.bool)
    for r, path in enumerate(forest.paths):
        sees[r, path] = True
    sees = sees.cuda()
    state = {}
    attend = torch.compile(flex.flex_attention, dynamic=False)
    q, k, v = case.q.transpose(0, 1)[None], case.k[:, 0].transpose(0, 1)[None], case.v[:, 0].transpose(0, 1)[None]

    def plan():
        state["mask"] = flex.create_block_mask(lambda b, h, i, j: sees[i, node_of[j]], None, None, len(forest.leaf), forest.unique_tokens)

    return [("torch FlexAttention", plan,
             lambda: attend(q, k, v, block_mask=state["mask"], enable_gqa=case.heads.q != case.heads.kv)[0].transpose(0, 1), None)]


def flash_attention(case, package):
    if case.pages.page_size == 1 or case.pages.page_size % 256:
        k, v, lengths = case.dense()
        return [("flash-attn, padded", None, lambda: package.flash_attn_with_kvcache(case.q[:, None], k, v, cache_seqlens=lengths)[:, 0], None)]
    indptr, indices, _ = case.pages.rows(case.forest, case.forest.paths)
    longest = max(b - a for a, b in zip(indptr, indptr[1:]))
    blocks = case.ints([indices[a:b] + [0] * (longest - (b - a)) for a, b in zip(indptr, indptr[1:])])
    lengths = case.ints([case.forest.context(r) for r in range(len(case.forest.leaf))])
    return [("flash-attn, paged", None,
             lambda: package.flash_attn_with_kvcache(case.q[:, None], case.k, case.v, cache_seqlens=lengths, block_table=blocks)[:, 0], None)]


PEERS = [("flashinfer decode", "flashinfer", flashinfer_decode), ("flashinfer cascade", "flashinfer", flashinfer_cascade),
         ("flashinfer BatchAttention", "flashinfer", flashinfer_batch), ("torch SDPA", "torch", torch_sdpa),
         ("torch FlexAttention", "torch.nn.attention.flex_attention", torch_flex), ("flash-attn", "flash_attn", flash_attention)]
