"""The peers of peers.py: each takes a Case and gives [(name, plan or None, run, order or None)]. plan() is the peer's work on the host for a batch,
run() its kernels; order() brings rows of an engine's batch order back to depth first. Packages are handed in: nothing is imported here."""


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
        rows = [case.ints(x) for x in case.batch_rows()]
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
        queries = [case.ints([0] + [g[1] for g in level]) for level in levels]
        rows = [[case.ints(x) for x in case.pages.rows(case.forest, [g[2] for g in level])] for level in levels]

        def plan(wrapper=wrapper, queries=queries, rows=rows):
            wrapper.plan(queries, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], case.heads.q, case.heads.kv, case.heads.dim,
                         case.pages.page_size, q_data_type=case.dtype)

        out.append((f"flashinfer cascade, {name}", plan, lambda wrapper=wrapper: wrapper.run(case.q, (case.k, case.v)), None))
    if not out:
        raise ValueError("no level that all requests share in")
    return out


def flashinfer_batch(case, fi):
    wrapper = fi.BatchAttention(kv_layout="NHD")
    indptr, indices, _ = case.batch_rows()
    lengths = [case.forest.context(r) for r in case.order]
    arguments = [case.ints(range(len(lengths) + 1)), case.ints(indptr), case.ints(indices), case.ints(lengths)]
    q = case.in_batch_order()

    def plan():
        wrapper.plan(*arguments, case.heads.q, case.heads.kv, case.heads.dim, case.heads.dim, case.pages.page_size, causal=False, q_data_type=case.dtype,
                     kv_data_type=case.dtype)

    return [("flashinfer BatchAttention", plan, lambda: wrapper.run(q, (case.k, case.v), logits_soft_cap=0.0)[0], case.depth_first)]


def torch_sdpa(case, torch):
    k, v, lengths = case.dense()
    mask = (torch.arange(k.shape[1], device="cuda")[None, :] < lengths[:, None])[:, None, None, :]
    if bool(mask.all()):
        mask = None
    q, k, v = case.q[:, :, None, :], k.transpose(1, 2), v.transpose(1, 2)
    attend = torch.nn.functional.scaled_dot_product_attention
    return [("torch SDPA, padded", None, lambda: attend(q, k, v, attn_mask=mask, enable_gqa=case.heads.q != case.heads.kv)[:, :, 0], None)]


def torch_flex(case, flex):
    """One sequence of all tokens, read once; a request sees the tokens of its path's nodes."""
    torch, forest = case.torch, case.forest
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
