// Lean attention (stream-K): the KV tiles of all outputs in one list, an equal share of it for each CTA, shares cross
// output borders.
//
// Faithful: tiles of 256 or 128 tokens by head dim, 64 rows with packed heads; outputs (request, head interval) one
// after the other; the number of CTAs by the published rule; shares that differ by at most one tile; what a share
// leaves of an output is merged within the launch, by the CTA that comes last (the original: by the one that holds the
// output, which waits).
// Deviates: shares of equal predicted time instead of equal tiles when a cost model is given; head dims above 128 take
// tiles of 64 tokens. With our kernels a tile is our kernel's.
#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/division.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {
namespace {

class LeanBuild {
 public:
  LeanBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info),
        kernel_(request.kernels == KernelSet::ours ? our_kernel(request, request.heads.group())
                                                   : published_kernel_by_dim(request, "lean_attend")),
        contexts_(contexts_of(request.forest)) {
    intervals_ = request.heads.q_heads / heads_per_copy(kernel_, request.heads);
    for (const std::int64_t tokens : contexts_.tokens) {
      tiles_.push_back(core::ceil_div(tokens, std::int64_t{kernel_.kv_tile}));
      total_ += tiles_.back() * intervals_;
    }
    const std::int64_t outputs = static_cast<std::int64_t>(tiles_.size()) * intervals_;
    grid_ = lean_grid(total_, outputs, core::ceil_div(contexts_.longest, std::int64_t{kernel_.kv_tile}),
                      static_cast<std::int64_t>(request.device.sms));
    // Never more CTAs than are resident at once: they wait for one another.
    const std::int64_t ctas = std::min(grid_.ctas, resident_ctas(kernel_, request));
    const std::int64_t most = core::ceil_div(total_, ctas);
    grid_ = {ctas, most, total_ - (most - 1) * ctas};
    require_at_most("tasks", outputs + ctas, kMaxTasks);
    require_at_most("segments", path_rows(request.forest) * intervals_ + ctas, kMaxPlanRows);
  }

  Plan run() {
    QueuePlan plan(request_, kernel_, grid_.ctas);
    const bool timed = request_.model != nullptr;
    double share_us = 0;
    if (timed) {
      make_costs();
      share_us = least_share_us();
      deal_time(share_us, [&](std::int64_t worker, Part part) { add(plan, worker, part); });
    } else {
      deal_tiles([&](std::int64_t worker, Part part) { add(plan, worker, part); });
    }
    plan.close(reduce_kernel(request_, "lean_fixup"), PhaseStart::on_arrival);
    Provenance from = provenance(info_, request_);
    from.why.push_back(
        timed ? fmt::format("{} of {} tokens over {}, none above {:.2f} us by the cost model", counted(total_, "tile"),
                            kernel_.kv_tile, counted(grid_.ctas, "CTA"), share_us)
              : fmt::format("{} of {} tokens over {}: {} each, {} of them one less", counted(total_, "tile"),
                            kernel_.kv_tile, counted(grid_.ctas, "CTA"), grid_.most, grid_.ctas - grid_.larger));
    add_no_sharing(request_.forest, from.why);
    return std::move(plan).finish(std::move(from));
  }

 private:
  /// Tiles [begin, end) of one output.
  struct Part {
    std::size_t request;
    std::int64_t interval, begin, end;
  };

  template <class Give>
  void deal_tiles(Give&& give) const {
    std::int64_t worker = 0, left = share(0);
    for_outputs([&](std::size_t i, std::int64_t interval) {
      for (std::int64_t begin = 0; begin < tiles_[i];) {
        if (left == 0) left = share(++worker);
        const std::int64_t end = std::min(tiles_[i], begin + left);
        give(worker, Part{i, interval, begin, end});
        left -= end - begin;
        begin = end;
      }
    });
  }

  /// Shares of at most `us` each, filled one after the other. Returns the workers it takes.
  template <class Give>
  std::int64_t deal_time(double us, Give&& give) const {
    std::int64_t worker = 0;
    double left = us;
    for_outputs([&](std::size_t i, std::int64_t interval) {
      for (std::int64_t begin = 0; begin < tiles_[i];) {
        const double rest_us = begin == 0 ? whole_us_[i] : cost_->us(tiles_[i] - begin);
        std::int64_t end = tiles_[i];
        if (rest_us > left) {
          // A share that can't pay for a tile is closed; a fresh one can.
          end = left < least_us_ ? begin : std::min(tiles_[i], begin + cost_->tiles_within(left));
        }
        if (end > begin) give(worker, Part{i, interval, begin, end});
        if (end < tiles_[i]) {
          ++worker;
          left = us;
        } else {
          left -= rest_us;
        }
        begin = end;
      }
    });
    return worker + 1;
  }

  template <class F>
  void for_outputs(F&& visit) const {
    for (std::size_t i = 0; i < tiles_.size(); ++i) {
      for (std::int64_t interval = 0; interval < intervals_; ++interval) visit(i, interval);
    }
  }

  std::int64_t share(std::int64_t worker) const { return worker < grid_.larger ? grid_.most : grid_.most - 1; }

  void make_costs() {
    costmodel::TaskShape shape;
    shape.heads = heads_per_copy(kernel_, request_.heads);
    shape.writes_partial = true;
    cost_.emplace(*request_.model, kernel_, shape, *std::max_element(tiles_.begin(), tiles_.end()));
    for (const std::int64_t tiles : tiles_) whole_us_.push_back(cost_->us(tiles));
    least_us_ = cost_->us(1);
  }

  /// Least share for which the workers suffice, within 0.1 %; from above.
  double least_share_us() const {
    double total = 0;
    for (const double us : whole_us_) total += us * static_cast<double>(intervals_);
    const auto nothing = [](std::int64_t, const Part&) {};
    double low = std::max(least_us_, total / static_cast<double>(grid_.ctas)), high = low;
    while (deal_time(high, nothing) > grid_.ctas) low = high, high *= 2;
    while (high - low > 1e-3 * low) {
      const double middle = (low + high) / 2;
      (deal_time(middle, nothing) > grid_.ctas ? low : high) = middle;
    }
    return high;
  }

  /// Whole outputs of one request that follow one another are copies of one task.
  void add(QueuePlan& plan, std::int64_t worker, const Part& part) {
    const bool whole = part.begin == 0 && part.end == tiles_[part.request];
    const bool continues = whole && open_ && open_request_ == part.request && open_next_ == part.interval;
    if (continues) {
      Task& task = plan.builder().plan().tasks[open_task_];
      plan.give(worker, open_task_, task.copies++);
    } else {
      const std::int64_t tile = kernel_.kv_tile;
      const auto interval = static_cast<std::int32_t>(part.interval);
      open_task_ =
          plan.tasks().add(contexts_.requests[part.request], part.begin * tile,
                           std::min(part.end * tile, contexts_.tokens[part.request]), {interval, interval + 1});
      plan.give(worker, open_task_, 0);
    }
    open_ = whole;
    open_request_ = part.request;
    open_next_ = part.interval + 1;
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  const costmodel::KernelConfig& kernel_;
  Contexts contexts_;
  std::vector<std::int64_t> tiles_;  ///< of each request, for one head interval
  std::int64_t total_ = 0, intervals_ = 1;
  LeanGrid grid_{};
  std::optional<TileCost> cost_;
  std::vector<double> whole_us_;
  double least_us_ = 0;
  bool open_ = false;  ///< the task added last is a whole output
  std::size_t open_request_ = 0;
  std::int64_t open_next_ = 0;
  TaskId open_task_;
};

class Lean final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "lean",
        "all KV tiles in one list, equal shares for persistent CTAs, merged within the launch",
        "LeanAttention (arXiv 2405.10480), planner as in ONNX Runtime",
        "serves every forest; refuses head configurations whose tile fits no kernel of the set",
        true,
        {},
        ""};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return LeanBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& lean_strategy() {
  static const planning::Lean kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
