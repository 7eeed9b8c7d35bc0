// DeFT-Flatten: the KV of all nodes in depth-first order, cut into equal blocks across node borders.
//
// Faithful: blocks of 128 tokens over the flattened KV of the whole forest; a block's queries are the union over the
// nodes it touches, cut in groups of at most 32, and the block is read once a group; what a query may see of a block is
// a row interval a node (DeFT's bit mask a token: the readers of a node are neighbours in depth-first order); one CTA a
// query head with the published kernel, which doesn't pack heads; fp32 partials merged by query; the metadata is made
// on the host every step, so no CUDA graph. The re-write in FastTree's artifact (rewrite=1) packs heads and walks a
// block's query tiles one after another in one CTA.
// Deviates: a node of which a group sees nothing is left out of that group's task (DeFT reads and masks it); the
// reduction by atomics in two kernels is one merge launch; the traffic of masks and page indices isn't counted; a query
// with one block writes its final row. With our kernels heads are packed, groups shrink to what the tile holds, and the
// plan may run in a graph.
#include <fmt/core.h>

#include <algorithm>
#include <queue>

#include "core/units.h"
#include "scheduler/strategies/flat_tasks.h"

namespace espalier::scheduler {
namespace planning {
namespace {

/// A block: pieces of nodes that follow one another in depth-first order.
struct BlockPart {
  NodeId node;
  std::int64_t begin, end;
};

class DeftBuild {
 public:
  DeftBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), forest_(request.forest), builder_(request.forest, request.heads),
        block_(static_cast<std::int64_t>(request.options.at("block"))),
        published_(request.kernels == KernelSet::published) {}

  Plan run() {
    const std::int64_t unique = traces::unique_tokens(forest_);
    require_at_most("tasks", core::ceil_div(unique, block_), kMaxTasks);
    choose_kernel();
    const KernelId reduce = builder_.kernel(reduce_kernel(request_, "deft_reduce"));
    const Follow follow = published_ ? Follow::stream : Follow::graph;
    builder_.launch(follow);
    flatten();
    builder_.task_phase(kernel_, TaskId(0));
    if (rewrite_) walk_blocks();
    merge_rows(request_, builder_, {reduce, builder_.plan().kernels[kernel_].partial_dtype, follow});
    Provenance from = provenance(info_, request_);
    from.graph_safe = !published_;
    from.why = {fmt::format("{} of {} tokens, {}: each is read once a group of at most {}", counted(blocks_, "block"),
                            block_, counted(tasks_, "task"), counted(most_queries_, "query row")),
                fmt::format("{:.2f} partial rows a request on average",
                            static_cast<double>(rows_) / static_cast<double>(forest_.request_count()))};
    if (!builder_.plan().kernels[kernel_].packs_heads && request_.heads.group() > 1) {
      from.why.push_back(fmt::format("heads aren't packed: each KV head is read {} times", request_.heads.group()));
    }
    return std::move(builder_).finish(std::move(from));
  }

 private:
  void choose_kernel() {
    std::int32_t readers = 1;
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) readers = std::max(readers, forest_.readers(n));
    const auto most = static_cast<std::int32_t>(request_.options.at("queries"));
    rewrite_ = published_ && request_.options.at("rewrite") > 0;
    const costmodel::KernelConfig& kernel =
        published_ ? published_kernel(request_, rewrite_ ? "deft_rewrite" : "deft_flatten")
                   : our_kernel(request_, std::int64_t{std::min(most, readers)} * request_.heads.group());
    kernel_ = builder_.kernel(kernel);
    const std::int32_t tile = queries_per_tile(kernel, request_.heads);
    most_queries_ = rewrite_ ? tile : std::min(most, tile);
  }

  void flatten() {
    std::vector<BlockPart> parts;
    std::int64_t filled = 0;
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) {
      for (std::int64_t at = 0; at < forest_.tokens[n];) {
        const std::int64_t end = std::min(forest_.tokens[n], at + block_ - filled);
        parts.push_back({n, at, end});
        filled += end - at;
        at = end;
        if (filled < block_) continue;
        emit_block(parts);
        parts.clear();
        filled = 0;
      }
    }
    if (!parts.empty()) emit_block(parts);
  }

  void emit_block(const std::vector<BlockPart>& parts) {
    ++blocks_;
    block_tasks_.push_back(builder_.next_task());
    // Nodes come in preorder, so their request intervals begin in ascending order and the union grows at its end.
    std::vector<RequestId> queries;
    RequestId next(0);
    for (const BlockPart& part : parts) {
      next = std::max(next, forest_.request_begin[part.node]);
      for (; next < forest_.request_end[part.node]; ++next.value) queries.push_back(next);
    }
    const auto total = static_cast<std::int64_t>(queries.size());
    tasks_ += core::ceil_div(total, most_queries_);
    rows_ += total;
    require_at_most("tasks", tasks_, kMaxTasks);
    require_at_most("partial rows", rows_, kMaxPlanRows);
    for (std::size_t at = 0; at < queries.size(); at += static_cast<std::size_t>(most_queries_)) {
      const std::size_t count = std::min(queries.size() - at, static_cast<std::size_t>(most_queries_));
      emit_task(parts, std::span(queries).subspan(at, count));
    }
  }

  /// One CTA walks all query tiles of a block and head: CTAs in grid order (heads outermost) to whichever resident
  /// place is free first, counted in tiles.
  void walk_blocks() {
    const costmodel::KernelConfig& kernel = builder_.plan().kernels[kernel_];
    const std::int64_t places =
        std::min<std::int64_t>(resident_ctas(kernel, request_), blocks_ * request_.heads.kv_heads);
    using Place = std::pair<std::int64_t, std::size_t>;
    std::priority_queue<Place, std::vector<Place>, std::greater<>> free;
    std::vector<std::vector<QueueItem>> queues(static_cast<std::size_t>(places));
    for (std::size_t p = 0; p < queues.size(); ++p) free.emplace(0, p);
    block_tasks_.push_back(builder_.next_task());
    for (std::int32_t head = 0; head < request_.heads.kv_heads; ++head) {
      for (std::size_t block = 0; block + 1 < block_tasks_.size(); ++block) {
        auto [tiles, place] = free.top();
        free.pop();
        for (TaskId t = block_tasks_[block]; t < block_tasks_[block + 1]; ++t.value, ++tiles) {
          queues[place].push_back({t, head});
        }
        free.emplace(tiles, place);
      }
    }
    builder_.queues(queues);
  }

  void emit_task(const std::vector<BlockPart>& parts, std::span<const RequestId> group) {
    std::vector<Segment> segments;
    for (const BlockPart& part : parts) {
      const auto begin = std::lower_bound(group.begin(), group.end(), forest_.request_begin[part.node]);
      const auto end = std::lower_bound(begin, group.end(), forest_.request_end[part.node]);
      if (begin == end) continue;
      Segment segment = builder_.segment(part.node, part.begin, part.end, 0);
      segment.row_begin = static_cast<std::int32_t>(begin - group.begin());
      segment.row_end = static_cast<std::int32_t>(end - group.begin());
      segments.push_back(segment);
    }
    builder_.attend(kernel_, segments, builder_.queries(group));
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  PlanBuilder builder_;
  std::int64_t block_;
  bool published_;
  bool rewrite_ = false;
  std::vector<TaskId> block_tasks_;  ///< first task of each block
  KernelId kernel_;
  std::int32_t most_queries_ = 1;
  std::int64_t blocks_ = 0, tasks_ = 0, rows_ = 0;
};

class DeftFlatten final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{"deft_flatten",
                                    "all KV flattened in depth-first order and cut into equal blocks across nodes",
                                    "DeFT-Flatten (arXiv 2404.00242)",
                                    "at most 4000000 tasks and 16777216 partial rows; refuses head configurations "
                                    "whose tile fits no kernel of the set",
                                    false,
                                    {{"block", 128, 16, 65536, "tokens of a block"},
                                     {"queries", 32, 1, 128, "most queries a task"},
                                     {"rewrite", 0, 0, 1,
                                      "1: the kernel that FastTree's artifact runs as DeFT: heads packed, tiles of 64 "
                                      "rows and 32 tokens (published kernels)"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return DeftBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& deft_flatten_strategy() {
  static const planning::DeftFlatten kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
