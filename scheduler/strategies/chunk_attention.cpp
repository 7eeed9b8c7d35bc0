// ChunkAttention: KV in a trie of 64-token chunks; first every shared chunk with all its sequences, then every sequence
// over its private chunks, taking in the partial rows of the shared ones.
//
// Faithful: chunks are counted from the first token of a sequence and are shared when they are full, equal and not the
// last of a sequence; shared means by more than one; a chunk serves one interval of sequences; phase one is a CTA a
// shared chunk and head with one row for each sequence of the batch (rounded up to 16, compiled up to 128),
// half-precision partials; phase two is a CTA a sequence and head that folds them in; nothing is split for balance; the
// plan is kept until the trie changes. The published kernels know no groups of heads and one head dim.
// Deviates: chunks are runs of tokens of the paged cache; a batch beyond the largest compiled tile is refused with the
// published kernels. With our kernels the smallest tile that holds the readers of the most shared chunk runs, in
// several tiles if need be, and heads are packed.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "core/units.h"
#include "scheduler/strategies/boxes.h"

namespace espalier::scheduler {
namespace planning {
namespace {

constexpr std::array kCompiledRows{16, 32, 48, 64, 96, 128};

class ChunkBuild {
 public:
  ChunkBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), forest_(request.forest), builder_(request.forest, request.heads),
        published_(request.kernels == KernelSet::published),
        chunk_(static_cast<std::int64_t>(request.options.at("chunk"))), roots_(request.forest.node_count()),
        shared_tokens_(request.forest.request_count(), 0), slots_of_(request.forest.request_count()) {
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      roots_[n] = forest_.is_root(n) ? n : roots_[forest_.parent[n]];
    }
  }

  Plan run() {
    if (published_) check_heads();
    std::vector<Box> shared = shared_chunks();
    attend_chunks(shared);
    attend_sequences();
    std::int64_t folded = 0;
    for (const std::int64_t tokens : shared_tokens_) folded += tokens / chunk_;
    Provenance from = provenance(info_, request_);
    from.graph_safe = !published_;
    from.why = {fmt::format("{} of {} tokens, shared by up to {}", counted(chunks_, "shared chunk"), chunk_,
                            counted(most_readers_, "sequence")),
                fmt::format("each sequence takes in {:.1f} partial rows on average and walks its private chunks alone",
                            static_cast<double>(folded) / static_cast<double>(forest_.request_count()))};
    return std::move(builder_).finish(std::move(from));
  }

 private:
  void check_heads() const {
    const traces::HeadConfig& heads = request_.heads;
    if (heads.group() != 1) {
      refuse(RefusalClass::heads,
             fmt::format("ChunkAttention's kernels know no groups of heads, got {}", traces::heads_text(heads)));
    }
    if (heads.qk_dim != 128 || heads.v_dim != 128 || heads.v_in_k) {
      refuse(RefusalClass::heads,
             fmt::format("ChunkAttention's kernels are compiled for head dim 128, got {}", traces::heads_text(heads)));
    }
  }

  /// A chunk belongs to the node that holds its last token. Sequences that end with the chunk own a copy of it: they
  /// come first among the node's requests.
  std::vector<Box> shared_chunks() {
    std::vector<Box> boxes;
    std::int64_t rows = 0;
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      const std::int64_t node_end = forest_.tokens_before[n] + forest_.tokens[n];
      const Chain path{roots_[n], n, node_end};
      for (std::int64_t end = (forest_.tokens_before[n] / chunk_ + 1) * chunk_; end <= node_end; end += chunk_) {
        RequestId first = forest_.request_begin[n];
        while (end == node_end && first < forest_.request_end[n] && forest_.leaf[first] == n) ++first.value;
        const std::int32_t readers = forest_.request_end[n].value - first.value;
        if (readers < 2) continue;
        ++chunks_;
        most_readers_ = std::max(most_readers_, readers);
        require_at_most("partial rows", rows += readers, kMaxPlanRows);
        boxes.push_back({path, end - chunk_, end, builder_.queries(first, forest_.request_end[n]), 0, TaskId()});
        for (RequestId r = first; r < forest_.request_end[n]; ++r.value) shared_tokens_[r] = end;
      }
    }
    return boxes;
  }

  const costmodel::KernelConfig& chunk_kernel() const {
    if (!published_) return our_kernel(request_, std::int64_t{most_readers_} * request_.heads.group());
    const auto batch = static_cast<std::int64_t>(forest_.request_count());
    for (const std::int32_t rows : kCompiledRows) {
      if (rows >= batch) return published_kernel(request_, fmt::format("chunk_attention_m{}", rows));
    }
    refuse(RefusalClass::size, fmt::format("ChunkAttention's kernels are compiled for batches of up to {}, got {}",
                                           kCompiledRows.back(), batch));
  }

  void attend_chunks(const std::vector<Box>& chunks) {
    if (chunks.empty()) return;
    const costmodel::KernelConfig* const kernels[] = {&chunk_kernel()};
    const std::int32_t most = queries_per_tile(*kernels[0], request_.heads);
    std::vector<Box> tiles;
    for (const Box& chunk : chunks) {
      for (std::int32_t q = chunk.queries.begin; q < chunk.queries.end; q += most) {
        tiles.push_back(chunk);
        tiles.back().queries = {q, std::min(chunk.queries.end, q + most)};
      }
    }
    launch_boxes(builder_, kernels, tiles, {follow()});
    Plan& plan = builder_.plan();
    for (const Box& tile : tiles) {
      const SlotId slot = builder_.slot(partial_slot(plan, tile.queries, kernels[0]->partial_dtype));
      plan.tasks[tile.task].slot = slot;
      for (std::int32_t q = tile.queries.begin; q < tile.queries.end; ++q) slots_of_[RequestId(q)].push_back(slot);
    }
  }

  void attend_sequences() {
    const costmodel::KernelConfig* const kernels[] = {published_
                                                          ? &published_kernel(request_, "chunk_attention_sequence")
                                                          : &our_kernel(request_, request_.heads.group())};
    std::vector<Box> boxes;
    for (const RequestId r : core::ids<RequestId>(forest_.request_count())) {
      const Chain path{roots_[forest_.leaf[r]], forest_.leaf[r], forest_.context_tokens(r)};
      boxes.push_back({path, shared_tokens_[r], path.tokens, builder_.queries(r, RequestId(r.value + 1)), 0, TaskId()});
    }
    launch_boxes(builder_, kernels, boxes, {follow()});
    Interval folds;
    for (const Box& box : boxes) {
      const RequestId r(box.queries.begin);
      // Neighbours often have the same shared chunks.
      const bool same = r.value > 0 && slots_of_[r] == slots_of_[RequestId(r.value - 1)];
      if (!same) folds = builder_.folds(slots_of_[r]);
      builder_.plan().tasks[box.task].folds = folds;
    }
  }

  Follow follow() const { return published_ ? Follow::stream : Follow::graph; }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  PlanBuilder builder_;
  bool published_;
  std::int64_t chunk_;
  core::Column<NodeId, NodeId> roots_;
  core::Column<RequestId, std::int64_t> shared_tokens_;  ///< sharing is of prefixes: what comes after is private
  core::Column<RequestId, std::vector<SlotId>> slots_of_;
  std::int64_t chunks_ = 0;
  std::int32_t most_readers_ = 0;
};

class ChunkAttention final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "chunk_attention",
        "shared chunks first, then each sequence over its private chunks, taking in the partial rows",
        "ChunkAttention (arXiv 2402.15220)",
        "at most 16777216 partial rows; with its own kernels one query head a KV head, head dim 128 and batches of up "
        "to 128",
        false,
        {{"chunk", 64, 16, 65536, "tokens of a chunk"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return ChunkBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& chunk_attention_strategy() {
  static const planning::ChunkAttention kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
