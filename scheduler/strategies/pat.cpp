// PAT: pack queries by saved memory traffic, cut what is too long, run each pack on the tile that fits it, one stream a
// tile.
//
// Faithful: the pack rule with its tiled re-reads (a child is absorbed when it holds all live queries, or when kv x
// (change in query tiles) + 4 x its queries >= 0), q_max = 64 / group requests a box; balance: boxes over 5 x the mean
// page count are cut into mean-sized parts, then the box with most pages is halved until there are enough boxes for the
// KV heads (54 down to 4: two CTAs an SM of an A100) or a request has 32 partial rows; the eleven tiles 16/32/64 x
// 16..128; a launch a tile, each on its own stream, one merge; a batch with one box a request writes its rows at once;
// refuses more than 32 partial rows a request, as its merge kernel does. The two shipped planners differ in the
// balance, both are here (option planner). The optional compute model is option model.
// Fixed: the published slots are a running rank of a box's first request, by which two boxes of one request can get the
// same slot and others stay unwritten on ragged forests (a fifth of random ones); here every (request, box) has its
// slot by construction. A batch without splits but with several tiles is launched whole (published: the first tile
// alone).
// Deviates: lengths are tokens and every node begins a page; a page is the forest's own if that is a multiple of 16
// tokens, else 16; boxes stand in depth-first order; published kernels on forests with pages of any size. With our
// kernels: our smallest tile that holds a box's rows, longest boxes first.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>

#include "core/units.h"
#include "scheduler/strategies/packing.h"

namespace espalier::scheduler {
namespace planning {
namespace {

using core::ceil_div;

constexpr std::int64_t kMostRows = 64, kSmallRows = 16;
constexpr std::int64_t kMergeTrafficPerQuery = 4;
constexpr std::int64_t kPage = 16;
constexpr std::int64_t kLongFactor = 5;  // a box over this many means is cut
constexpr std::int64_t kHalvable = 8;    // pages below which nothing is halved
constexpr std::int64_t kSplits = 32;     // partial rows of a request that the merge kernel takes

/// The planners of the package: the one in C++ and its older twin in Python.
enum class Planner { cpp, python };

std::int64_t enough_boxes(std::int32_t kv_heads) {
  return kv_heads <= 4 ? 54 : kv_heads <= 8 ? 27 : kv_heads <= 16 ? 13 : kv_heads <= 32 ? 6 : 4;
}

/// Pages of boxes: a run of tokens that begins a page.
class Balance {
 public:
  Balance(std::int64_t page, Planner planner, std::vector<std::int32_t> splits)
      : page_(page), planner_(planner), splits_(std::move(splits)) {}

  void cut_long(std::vector<Box>& boxes, const std::vector<RequestId>& query_rows) {
    std::int64_t pages = 0, count = 0;
    for (const Box& box : boxes) {
      const std::int64_t tokens = box.end - box.begin;
      if (planner_ == Planner::cpp ? tokens < 128 : tokens <= 256) continue;
      pages += pages_of(box);
      ++count;
    }
    if (count == 0) return;
    std::vector<Box> cut;
    for (const Box& box : boxes) {
      const std::int64_t size = pages_of(box);
      if (size * count <= kLongFactor * pages) {
        cut.push_back(box);
        continue;
      }
      // One planner divides by the mean's integer part, the other by the mean.
      const std::int64_t parts =
          planner_ == Planner::cpp ? ceil_div(size, pages / count) : ceil_div(size * count, pages);
      const std::int64_t part = ceil_div(size, parts) * page_;
      for (std::int64_t at = box.begin; at < box.end; at += part) {
        cut.push_back(box);
        cut.back().begin = at;
        cut.back().end = std::min(box.end, at + part);
        if (at > box.begin) count_rows(box, query_rows);
      }
      ++cuts_;
    }
    boxes = std::move(cut);
  }

  void halve(std::vector<Box>& boxes, std::int64_t enough, const std::vector<RequestId>& query_rows) {
    while (static_cast<std::int64_t>(boxes.size()) < enough && most_splits() < kSplits) {
      const auto longest = std::max_element(boxes.begin(), boxes.end(),
                                            [&](const Box& a, const Box& b) { return pages_of(a) < pages_of(b); });
      const std::int64_t size = pages_of(*longest);
      if (size < kHalvable || (planner_ == Planner::python && size == kHalvable)) return;
      Box first = *longest, second = *longest;
      first.end = second.begin = first.begin + ceil_div(size, 2) * page_;
      // The halves go to the end; where the others stand decides later ties.
      if (planner_ == Planner::cpp) {
        *longest = boxes.back();
        boxes.pop_back();
      } else {
        boxes.erase(longest);
      }
      boxes.push_back(first);
      boxes.push_back(second);
      count_rows(first, query_rows);
      ++halvings_;
    }
  }

  std::int64_t most_splits() const { return *std::max_element(splits_.begin(), splits_.end()); }
  std::int64_t cuts() const { return cuts_; }
  std::int64_t halvings() const { return halvings_; }

 private:
  std::int64_t pages_of(const Box& box) const { return ceil_div(box.end - box.begin, page_); }
  /// One more partial row for each request of the box.
  void count_rows(const Box& box, const std::vector<RequestId>& query_rows) {
    for (std::int32_t q = box.queries.begin; q < box.queries.end; ++q) {
      ++splits_[query_rows[static_cast<std::size_t>(q)].index()];
    }
  }

  std::int64_t page_;
  Planner planner_;
  std::vector<std::int32_t> splits_;  ///< partial rows of each request
  std::int64_t cuts_ = 0, halvings_ = 0;
};

class PatBuild {
 public:
  PatBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), forest_(request.forest), builder_(request.forest, request.heads),
        published_(request.kernels == KernelSet::published), group_(request.heads.group()),
        most_queries_(std::max<std::int64_t>(1, kMostRows / group_)),
        planner_(request.options.at("planner") == 0 ? Planner::cpp : Planner::python) {}

  Plan run() {
    if (published_) check_heads();
    // Wide heads leave no room for 64 rows on some devices.
    else {
      most_queries_ =
          std::min<std::int64_t>(most_queries_, queries_per_tile(our_kernel(request_, kMostRows), request_.heads));
    }
    std::vector<Box> boxes = pack();
    const std::size_t packed = boxes.size();
    const std::int64_t page = forest_.pages.page_size % kPage == 0 ? forest_.pages.page_size : kPage;
    Balance balance(page, planner_, splits_of(boxes));
    balance.cut_long(boxes, builder_.plan().query_rows);
    balance.halve(boxes, enough_boxes(request_.heads.kv_heads), builder_.plan().query_rows);
    const std::int64_t most = balance.most_splits(), limit = static_cast<std::int64_t>(request_.options.at("splits"));
    if (most > (published_ ? std::min(limit, kSplits) : limit)) {
      refuse(RefusalClass::size,
             fmt::format("a request would have {} partial rows, PAT's merge takes {}", most, limit));
    }
    for (Box& box : boxes) box.kernel = kernel_of(box);

    const Follow follow = published_ ? Follow::stream : Follow::graph;
    const KernelId reduce = builder_.kernel(reduce_kernel(request_, "pat_gather"));
    const auto launches = launch_boxes(builder_, kernels_, boxes, {follow, !published_, 0, true});
    merge_rows(request_, builder_, {reduce, kernels_[0]->partial_dtype, follow, launches});
    Provenance from = provenance(info_, request_);
    from.graph_safe = !published_;
    from.why = {fmt::format("{} of {} absorbed where {}", packing_->absorbed(),
                            counted(static_cast<std::int64_t>(forest_.node_count()), "node"),
                            compute_model() ? "padding falls" : "it saves memory traffic"),
                fmt::format("{} of at most {}; {} cut and {} halved: {}, at most {} a request",
                            counted(static_cast<std::int64_t>(packed), "pack"), counted(most_queries_, "query row"),
                            balance.cuts(), balance.halvings(),
                            counted(static_cast<std::int64_t>(boxes.size()), "task"), counted(most, "partial row")),
                fmt::format("{}, each in a launch on its own stream",
                            counted(static_cast<std::int64_t>(launches.size()), "tile shape"))};
    return std::move(builder_).finish(std::move(from));
  }

 private:
  void check_heads() const {
    const traces::HeadConfig& heads = request_.heads;
    const bool dims = heads.qk_dim == heads.v_dim && (heads.qk_dim == 64 || heads.qk_dim == 128) && !heads.v_in_k;
    if (!dims) {
      refuse(RefusalClass::heads,
             fmt::format("PAT's kernels are compiled for head dims 64 and 128, not {}", traces::heads_text(heads)));
    }
    if (group_ != 1 && group_ != 2 && group_ != 4 && group_ != 8) {
      refuse(RefusalClass::heads,
             fmt::format("PAT's kernels are compiled for groups of 1, 2, 4 and 8 query heads, not {}", group_));
    }
  }

  bool compute_model() const { return request_.options.at("model") != 0; }

  /// Change in padded work by the optional compute model, FastTree's rule on PAT's tiles.
  bool pads_less(const Edge& edge) const {
    const auto cost = [&](std::int64_t queries, std::int64_t tokens) {
      const std::int64_t tile =
          queries * group_ >= kMostRows ? kMostRows : kSmallRows;  // taken as queries, as published
      const std::int64_t padded = queries == 0 ? 0 : tile - ((queries - 1) % tile + 1);
      return static_cast<double>(padded * tokens * group_);
    };
    const double keep = cost(edge.parent_queries, edge.parent_tokens) + cost(edge.child_queries, edge.child_tokens) +
                        0.1 * static_cast<double>(edge.child_queries * group_);
    return keep > cost(edge.parent_queries - edge.child_queries, edge.parent_tokens) +
                      cost(edge.child_queries, edge.child_tokens + edge.parent_tokens);
  }

  bool saves_traffic(const Edge& edge) const {
    if (edge.child_queries == edge.parent_queries) return true;
    const auto tiles = [&](std::int64_t queries) { return ceil_div(queries, most_queries_); };
    const std::int64_t change =
        tiles(edge.parent_queries) - tiles(edge.parent_queries - edge.child_queries) - tiles(edge.child_queries);
    return edge.parent_tokens * change + kMergeTrafficPerQuery * edge.child_queries >= 0;
  }

  std::vector<Box> pack() {
    packing_.emplace(forest_);
    packing_->decide([&](const Edge& edge) { return compute_model() ? pads_less(edge) : saves_traffic(edge); });
    std::vector<Box> boxes;
    for (const Pack& pack : packing_->packs(builder_)) {
      cut_boxes(pack.chain, pack.queries, {pack.chain.tokens, static_cast<std::int32_t>(most_queries_)}, boxes);
    }
    return boxes;
  }

  std::vector<std::int32_t> splits_of(const std::vector<Box>& boxes) {
    std::vector<std::int32_t> splits(forest_.request_count(), 0);
    const std::vector<RequestId>& rows = builder_.plan().query_rows;
    for (const Box& box : boxes) {
      for (std::int32_t q = box.queries.begin; q < box.queries.end; ++q) {
        ++splits[rows[static_cast<std::size_t>(q)].index()];
      }
    }
    return splits;
  }

  /// Index of the box's kernel in kernels_, which lists those in use in the order of their first box.
  std::size_t kernel_of(const Box& box) {
    const std::int64_t rows = box.queries.size() * group_, tokens = box.end - box.begin;
    const std::int64_t m = rows <= 16 ? 16 : rows <= 32 ? 32 : 64;
    std::int64_t n = 0;
    if (published_) {
      n = tokens < 32                                                      ? 16
          : tokens < 64                                                    ? 32
          : tokens < 128 || (planner_ == Planner::python && tokens == 128) ? 64
                                                                           : 128;
      if (m == 64) n = std::max<std::int64_t>(n, 32);
    }
    const auto [entry, added] = index_.try_emplace({m, n}, kernels_.size());
    if (added) {
      kernels_.push_back(published_ ? &published_kernel(request_, fmt::format("pat_m{}_n{}", m, n))
                                    : &our_kernel(request_, m));
    }
    return entry->second;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  PlanBuilder builder_;
  bool published_;
  std::int64_t group_, most_queries_;
  Planner planner_;
  std::optional<Packing> packing_;
  std::vector<const costmodel::KernelConfig*> kernels_;
  std::map<std::pair<std::int64_t, std::int64_t>, std::size_t> index_;  ///< by rows and tokens of the tile
};

class Pat final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "pat",
        "pack by saved traffic, cut long packs, a stream for each of eleven tiles",
        "PAT (arXiv 2511.22333, ASPLOS 2026)",
        "at most 32 partial rows a request; with its own kernels head dims 64 and 128 and groups of 1, 2, 4 and 8",
        false,
        {{"planner", 0, 0, 1,
          "the package's planner in C++ (0) or in Python (1): they cut long packs by different means"},
         {"model", 0, 0, 1, "edges by memory traffic (0) or by the optional compute model (1)"},
         {"splits", kSplits, 1, 4096, "most partial rows a request; PAT's own merge takes 32"}}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return PatBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& pat_strategy() {
  static const planning::Pat kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
