// CoDec as released: one item a KV page and up to 16 queries; the hardware balances.
//
// Faithful: no estimator, no division; items in the order in which walking the requests meets them (by first query,
// then along its path); the heads of a group as rows; the reduction in rounds: the pages of a node first, then a launch
// a depth from the roots down; fp16 partials with the published kernels, whose merge takes at most 128 pages of a node;
// every step is launched eagerly.
// Deviates: its defects aren't reproduced (parent rows taken from a sibling's offset, the last node left out of the
// split count, lengths changed in place); a page is `page` tokens of a node of the radix tree, whatever the pages of
// the cache; heads other than 32/8 run on its kernel as if it were compiled for them. With our kernels: our tile for 16
// queries, longest items first, one merge launch.
#include <fmt/core.h>

#include <algorithm>
#include <tuple>

#include "core/units.h"
#include "scheduler/strategies/boxes.h"
#include "scheduler/strategies/level_merge.h"

namespace espalier::scheduler {
namespace planning {
namespace {

constexpr std::int32_t kMostQueries = 16;
constexpr std::int64_t kMostPages = 128;

class ReleaseBuild {
 public:
  ReleaseBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), builder_(request.forest, request.heads),
        published_(request.kernels == KernelSet::published),
        page_(static_cast<std::int64_t>(request.options.at("page"))), runs_(runs_of(request.forest)) {}

  Plan run() {
    const costmodel::KernelConfig* const kernels[] = {published_ ? &published_kernel_by_dim(request_, "codec_pac")
                                                                 : &ours()};
    std::vector<Box> items = make_items(*kernels[0]);
    std::sort(items.begin(), items.end(), [&](const Box& a, const Box& b) { return key(a) < key(b); });
    const KernelId reduce = builder_.kernel(reduce_kernel(request_, "codec_por"));
    const Follow follow = published_ ? Follow::stream : Follow::graph;
    const std::vector<LaunchId> launches = launch_boxes(builder_, kernels, items, {follow, !published_});
    const traces::Dtype dtype = kernels[0]->partial_dtype;
    if (published_) {
      merge_in_rounds(builder_, reduce, tiles_by_level(items), runs_.levels, {dtype, follow, launches});
    } else {
      merge_rows(request_, builder_, {reduce, dtype, follow, launches});
    }
    Provenance from = provenance(info_, request_);
    from.graph_safe = !published_;
    from.why = {fmt::format("{} of up to {} tokens and {}, no balance but the hardware's",
                            counted(static_cast<std::int64_t>(items.size()), "item"), page_,
                            counted(kMostQueries, "query row"))};
    return std::move(builder_).finish(std::move(from));
  }

 private:
  const costmodel::KernelConfig& ours() const {
    std::int32_t readers = 1;
    for (const Run& run : runs_.runs) readers = std::max(readers, run.readers());
    return our_kernel(request_, std::int64_t{std::min(kMostQueries, readers)} * request_.heads.group());
  }

  std::vector<Box> make_items(const costmodel::KernelConfig& kernel) {
    std::vector<Box> items;
    for (const Run& run : runs_.runs) {
      const std::int64_t pages = core::ceil_div(run.chain.tokens, page_);
      if (published_ && pages > kMostPages) {
        refuse(RefusalClass::size,
               fmt::format("a node has {} pages of {} tokens, CoDec's merge takes {}", pages, page_, kMostPages));
      }
      cut_boxes(run.chain, builder_.queries(run.begin, run.end),
                {page_, std::min(kMostQueries, queries_per_tile(kernel, request_.heads))}, items);
      require_at_most("tasks", static_cast<std::int64_t>(items.size()), kMaxTasks);
    }
    return items;
  }

  /// Where walking the requests in order meets an item first.
  std::pair<std::int32_t, std::int64_t> key(const Box& item) const {
    return {item.queries.begin, request_.forest.tokens_before[item.chain.top] + item.begin};
  }

  /// The items of a node and query tile, along the node, tiles by request.
  std::vector<std::vector<QueryTile>> tiles_by_level(std::vector<Box> items) const {
    std::sort(items.begin(), items.end(), [](const Box& a, const Box& b) {
      return std::tie(a.chain.top, a.queries.begin, a.begin) < std::tie(b.chain.top, b.queries.begin, b.begin);
    });
    std::vector<std::vector<QueryTile>> levels;
    for (const Box& item : items) {
      const auto level = static_cast<std::size_t>(runs_.runs[runs_.run_of[item.chain.top]].level);
      if (levels.size() <= level) levels.resize(level + 1);
      if (item.begin == 0) levels[level].push_back({RequestId(item.queries.begin), RequestId(item.queries.end), {}});
      levels[level].back().tasks.push_back(item.task);
    }
    return levels;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  PlanBuilder builder_;
  bool published_;
  std::int64_t page_;
  Runs runs_;
};

class CodecRelease final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "codec_release",
        "one item a KV page and 16 queries, balanced by the hardware",
        "CoDec's released code",
        "at most 4000000 tasks and 16777216 partial rows; with its own kernels at most 128 pages a node",
        false,
        {{"page", 1024, 16, 65536, "tokens of a page"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return ReleaseBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& codec_release_strategy() {
  static const planning::CodecRelease kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
