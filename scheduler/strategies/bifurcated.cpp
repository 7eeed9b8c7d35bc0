// Bifurcated attention: the shared context in one matrix product with all queries as rows, the rest batched, one
// softmax.
//
// Faithful: scores of context and decoded part are materialised, one softmax runs over both, two value products are
// summed; no log-sum-exp merge anywhere. Exactly one context, shared by all requests. A matrix product isn't split over
// its inner dimension, so a CTA of the value product walks all context tokens: slow for few requests, as the original
// is.
// Deviates: the original is compiled framework code; here the products are 64 x 64 library tiles. Its concatenation of
// scores is left out (scores are written where the softmax reads them). CTAs of the score product take several tiles of
// columns when the context is long. Decoded parts may be paths of several nodes. The published set launches the six
// kernels one after the other, ours puts context and decode part of a product into one launch; both use the same
// kernels, which only this method has.
#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/common.h"

namespace espalier::scheduler {
namespace planning {
namespace {

using core::ceil_div;

/// The score products are cut until they give every SM this many CTAs.
constexpr std::int64_t kScoreCtasPerSm = 8;

/// Rows that one product takes together: a tile of requests over the context, or one request over its decoded part.
struct ProductGroup {
  RequestId begin, end;
  std::size_t route;
  std::vector<SlotId> scores;  ///< in column order
  SlotId partial;              ///< of the value product; invalid: final rows
};

class BifurcatedBuild {
 public:
  BifurcatedBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), forest_(request.forest), builder_(request.forest, request.heads) {}

  Plan run() {
    check_structure();
    check_workspace();
    scores_ = builder_.kernel(published_kernel(request_, "bifurcated_scores"));
    softmax_ = builder_.kernel(published_kernel(request_, "bifurcated_softmax"));
    values_ = builder_.kernel(published_kernel(request_, "bifurcated_values"));
    sum_ = builder_.kernel(published_kernel(request_, "bifurcated_sum"));
    make_groups();
    choose_columns();
    product(scores_, [&](ProductGroup& group) { add_scores(group); });
    add_softmax();
    product(values_, [&](ProductGroup& group) { add_values(group); });
    const StepId sums = builder_.next_step();
    add_sums();
    merge_launch(builder_, sum_, sums, Follow::graph);
    Provenance from = provenance(info_, request_);
    from.why = why();
    return std::move(builder_).finish(std::move(from));
  }

 private:
  void check_structure() const {
    std::int64_t roots = 0;
    for (const NodeId n : core::ids<NodeId>(forest_.node_count())) roots += forest_.is_root(n) ? 1 : 0;
    if (roots != 1) {
      refuse(RefusalClass::structure, fmt::format("needs one root shared by all requests; this forest has {}", roots));
    }
  }

  /// Scores take a 16-bit number a head and token of every request; more than the device's memory is refused before any
  /// is laid out.
  void check_workspace() const {
    double bytes = 0;
    for (const RequestId r : core::ids<RequestId>(forest_.request_count())) {
      bytes += 2.0 * static_cast<double>(request_.heads.q_heads) * static_cast<double>(forest_.context_tokens(r));
    }
    if (bytes > static_cast<double>(request_.device.hbm_bytes())) {
      refuse(RefusalClass::size, fmt::format("materialised scores take {:.1f} GiB, {} has {:.1f} GiB", bytes / 0x1p30,
                                             request_.device.name, request_.device.hbm_gib));
    }
    require_at_most("segments", path_rows(forest_), kMaxPlanRows);
  }

  void make_groups() {
    const auto requests = static_cast<std::int32_t>(forest_.request_count());
    routes_.emplace_back(forest_, std::vector<NodeId>{NodeId(0)});
    // Requests that end at the root come first; they have no decoded part, so their tiles end in final rows.
    std::int32_t deeper = 0;
    while (deeper < requests && forest_.leaf[RequestId(deeper)] == NodeId(0)) ++deeper;
    const auto& kernels = builder_.plan().kernels;
    const std::int32_t per_tile = std::min(queries_per_tile(kernels[scores_], request_.heads),
                                           queries_per_tile(kernels[values_], request_.heads));
    for (const auto& [begin, end] : {std::pair(0, deeper), std::pair(deeper, requests)}) {
      for (std::int32_t q = begin; q < end; q += per_tile) {
        groups_.push_back({RequestId(q), RequestId(std::min(q + per_tile, end)), 0, {}, {}});
      }
    }
    context_groups_ = groups_.size();
    for (RequestId r(deeper); r.value < requests; ++r.value) {
      std::vector<NodeId> path = traces::path_of(forest_, forest_.leaf[r]);
      path.erase(path.begin());
      routes_.emplace_back(forest_, std::move(path));
      groups_.push_back({r, RequestId(r.value + 1), routes_.size() - 1, {}, {}});
    }
  }

  void choose_columns() {
    const costmodel::KernelConfig& kernel = builder_.plan().kernels[scores_];
    const std::int32_t copies = request_.heads.q_heads / heads_per_copy(kernel, request_.heads);
    std::int64_t tiles = 0;
    for (const ProductGroup& group : groups_) tiles += ceil_div(routes_[group.route].tokens(), kernel.kv_tile);
    const std::int64_t wanted = kScoreCtasPerSm * static_cast<std::int64_t>(request_.device.sms);
    columns_ = kernel.kv_tile * std::max<std::int64_t>(1, ceil_div(tiles * copies, wanted));
    std::int64_t tasks = 0, folds = 0;
    for (const ProductGroup& group : groups_) {
      const std::int64_t cuts = ceil_div(routes_[group.route].tokens(), columns_);
      tasks += cuts;
      folds += cuts * (group.end.value - group.begin.value);
    }
    require_at_most("tasks", tasks + 2 * static_cast<std::int64_t>(forest_.request_count()), kMaxTasks);
    require_at_most("score rows", folds, kMaxPlanRows);
  }

  /// The two launches of a product, context and decoded parts; one launch with our kernels.
  template <class Add>
  void product(KernelId kernel, Add&& add) {
    builder_.launch();
    TaskId first = builder_.next_task();
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (g == context_groups_ && request_.kernels == KernelSet::published) {
        builder_.task_phase(kernel, first);
        builder_.launch();
        first = builder_.next_task();
      }
      add(groups_[g]);
    }
    builder_.task_phase(kernel, first);
  }

  Task task_of(const ProductGroup& group, TaskKind kind, KernelId kernel) {
    Task task;
    task.kind = kind;
    task.queries = builder_.queries(group.begin, group.end);
    task.head_count = heads_per_copy(builder_.plan().kernels[kernel], request_.heads);
    task.copies = request_.heads.q_heads / task.head_count;
    return task;
  }

  void add_scores(ProductGroup& group) {
    const Route& route = routes_[group.route];
    std::vector<Segment> segments;
    for (std::int64_t begin = 0; begin < route.tokens(); begin += columns_) {
      const std::int64_t end = std::min(begin + columns_, route.tokens());
      Task task = task_of(group, TaskKind::scores, scores_);
      segments.clear();
      route.cut(builder_, begin, end, task.queries.size(), segments);
      task.segments = builder_.segments(segments);
      Slot slot;
      slot.kind = SlotKind::scores;
      slot.queries = task.queries;
      slot.head_count = request_.heads.q_heads;
      slot.dtype = builder_.plan().kernels[scores_].partial_dtype;
      slot.columns = end - begin;
      group.scores.push_back(task.slot = builder_.slot(slot));
      builder_.task(task);
    }
  }

  /// One task a request: its rows of the context's scores and of its own.
  void add_softmax() {
    builder_.launch();
    const TaskId first = builder_.next_task();
    std::vector<SlotId> folds;
    std::size_t own = context_groups_;
    for (std::size_t g = 0; g < context_groups_; ++g) {
      for (RequestId r = groups_[g].begin; r < groups_[g].end; ++r.value) {
        folds = groups_[g].scores;
        if (own < groups_.size() && groups_[own].begin == r) {
          folds.insert(folds.end(), groups_[own].scores.begin(), groups_[own].scores.end());
          ++own;
        }
        Task task = task_of({r, RequestId(r.value + 1), 0, {}, {}}, TaskKind::softmax, softmax_);
        task.folds = builder_.folds(folds);
        builder_.task(task);
      }
    }
    builder_.task_phase(softmax_, first);
  }

  void add_values(ProductGroup& group) {
    const Route& route = routes_[group.route];
    Task task = task_of(group, TaskKind::values, values_);
    std::vector<Segment> segments;
    route.cut(builder_, 0, route.tokens(), task.queries.size(), segments);
    task.segments = builder_.segments(segments);
    task.folds = builder_.folds(group.scores);
    if (forest_.leaf[group.begin] != NodeId(0)) {
      Slot slot;
      slot.queries = task.queries;
      slot.head_count = request_.heads.q_heads;
      slot.dtype = builder_.plan().kernels[values_].partial_dtype;
      slot.columns = request_.heads.v_dim;
      group.partial = task.slot = builder_.slot(slot);
    }
    builder_.task(task);
  }

  void add_sums() {
    std::size_t context = 0;
    for (std::size_t g = context_groups_; g < groups_.size(); ++g) {
      const RequestId r = groups_[g].begin;
      while (groups_[context].end <= r) ++context;
      ReductionStep step;
      step.op = ReductionOp::sum;
      step.out_row = builder_.queries(r, groups_[g].end).begin;
      step.head_count = request_.heads.q_heads;
      const std::vector<RowRef> inputs = {{groups_[context].partial, r.value - groups_[context].begin.value},
                                          {groups_[g].partial, 0}};
      builder_.step(step, inputs);
    }
  }

  std::vector<std::string> why() {
    double scores = 0;
    for (const Slot& slot : builder_.plan().slots) {
      scores += slot.kind == SlotKind::scores ? static_cast<double>(slot_bytes(slot)) : 0;
    }
    const std::size_t decoded = groups_.size() - context_groups_;
    return {fmt::format("the root's {} tokens are read by tiles of {} for {}; {} has a decoded part",
                        forest_.tokens[NodeId(0)], counted(groups_[0].end.value - groups_[0].begin.value, "request"),
                        counted(static_cast<std::int64_t>(forest_.request_count()), "request"),
                        decoded == forest_.request_count() ? "each" : std::to_string(decoded)),
            fmt::format("{:.1f} MiB of scores are written, normalised and read back, in CTAs of {} columns",
                        scores / 0x1p20, columns_)};
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const traces::PrefixForest& forest_;
  PlanBuilder builder_;
  KernelId scores_, softmax_, values_, sum_;
  std::vector<Route> routes_;
  std::vector<ProductGroup> groups_;  ///< tiles over the context, then decoded parts, both by request
  std::size_t context_groups_ = 0;
  std::int64_t columns_ = 0;  ///< of one CTA of the score products
};

class Bifurcated final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{"bifurcated",
                                    "one root read by all queries in one matrix product, the rest batched, one softmax",
                                    "bifurcated attention (arXiv 2403.08845)",
                                    "exactly one root, shared by all requests, and room for all scores in memory; no "
                                    "latent attention (the products' tiles hold "
                                    "whole heads)",
                                    false,
                                    {}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return BifurcatedBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& bifurcated_strategy() {
  static const planning::Bifurcated kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
