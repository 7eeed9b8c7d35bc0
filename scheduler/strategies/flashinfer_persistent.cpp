// FlashInfer's persistent attention ("holistic" plan), and its plan for latent attention, which follows the same idea.
//
// Faithful: two clusters an SM (one from 256 dims on), the limit of an item's KV from an equal share of the batch, a
// class of 128 rows above 16 packed rows and one of 16 below (a decode batch has one group and so one class); items
// (request, chunk, KV head) in request order to the least loaded cluster, cost 2 x tile + tokens; half-precision
// partials, merged behind a grid barrier in the same launch. Latent attention: tiles of 64 rows, its own limits, one
// CTA an SM.
// Deviates: a latent cluster of two CTAs is two workers that get the same items, loads aren't multicast; equal loads go
// to the first cluster. With our kernels: as many clusters as both the rule and the device allow, merges by the last
// CTA to arrive.
#include <fmt/core.h>

#include <algorithm>

#include "core/units.h"
#include "scheduler/strategies/flat_tasks.h"
#include "scheduler/strategies/split_rules.h"

namespace espalier::scheduler {
namespace planning {
namespace {

/// FlashInfer's caps: items, and rows of split tiles a cluster.
constexpr std::int64_t kMostItems = 65536;
constexpr std::int64_t kMostLatentItems = 16384;
constexpr std::int64_t kMostSplitRowsACluster = 4 * 144;

class PersistentBuild {
 public:
  PersistentBuild(const PlanRequest& request, const StrategyInfo& info)
      : request_(request), info_(info), ours_(request.kernels == KernelSet::ours),
        latent_(request.heads.v_in_k && request.heads.qk_dim >= 512), group_(request.heads.group()),
        tile_(latent_       ? 64
              : group_ > 16 ? 128
                            : 16),
        kernel_(choose_kernel()), contexts_(contexts_of(request.forest)) {
    intervals_ = request.heads.q_heads / heads_per_copy(kernel_, request.heads);
    const auto sms = static_cast<std::int64_t>(request.device.sms);
    // Mean packed rows above 64 make a latent cluster of two CTAs; both read the same KV.
    width_ = latent_ && group_ > 64 && intervals_ % 2 == 0 ? 2 : 1;
    const std::int64_t wanted = latent_ ? sms / width_ : request.heads.qk_dim >= 256 ? sms : 2 * sms;
    clusters_ = std::max<std::int64_t>(1, std::min(wanted, resident_ctas(kernel_, request) / width_));
  }

  Plan run() {
    const std::int64_t share = core::ceil_div(core::checked_mul(contexts_.total, intervals_ / width_), clusters_);
    limit_ = latent_ ? flashinfer_latent_limit(share) : flashinfer_persistent_limit(share);
    if (!latent_ && tile_ == 128) limit_ = std::max<std::int64_t>(1, limit_ / std::min(request_.heads.kv_heads, 2));
    check_size();
    QueuePlan plan(request_, kernel_, clusters_ * width_);
    LeastLoaded loads(clusters_);
    for (std::size_t i = 0; i < contexts_.requests.size(); ++i) {
      for (std::int64_t begin = 0; begin < contexts_.tokens[i]; begin += limit_) {
        const std::int64_t end = std::min(begin + limit_, contexts_.tokens[i]);
        const TaskId task = plan.tasks().add(contexts_.requests[i], begin, end);
        for (std::int64_t interval = 0; interval < intervals_; interval += width_) {
          const std::int64_t cluster = loads.take(2 * tile_ + end - begin);
          for (std::int64_t w = 0; w < width_; ++w) {
            plan.give(cluster * width_ + w, task, static_cast<std::int32_t>(interval + w));
          }
        }
      }
    }
    if (ours_) {
      plan.close(reduce_kernel(request_, ""), PhaseStart::on_arrival);
    } else {
      plan.close(published_kernel(request_, "flashinfer_persistent_merge"), PhaseStart::barrier);
    }
    Provenance from = provenance(info_, request_);
    const std::int64_t ideal =
        std::max<std::int64_t>(1, core::ceil_div(contexts_.total * (intervals_ / width_), clusters_));
    from.why.push_back(
        fmt::format("items of up to {} tokens to the least loaded of {}; the most loaded has {} by FlashInfer's cost, "
                    "an equal share is {} tokens",
                    limit_, counted(clusters_, "cluster"), loads.longest(), ideal));
    add_no_sharing(request_.forest, from.why);
    return std::move(plan).finish(std::move(from));
  }

 private:
  const costmodel::KernelConfig& choose_kernel() const {
    if (ours_) return our_kernel(request_, std::min(group_, tile_));
    return published_kernel(request_,
                            latent_ ? "flashinfer_latent_m64" : fmt::format("flashinfer_persistent_m{}", tile_));
  }

  void check_size() const {
    std::int64_t pieces = 0, split_rows = 0;
    for (const std::int64_t tokens : contexts_.tokens) {
      const std::int64_t chunks = core::ceil_div(tokens, limit_);
      pieces += chunks;
      if (chunks > 1) split_rows += chunks * group_;
    }
    require_at_most("tasks", pieces, kMaxTasks);
    require_at_most("segments", path_rows(request_.forest) + pieces, kMaxPlanRows);
    if (ours_) return;
    require_at_most("work items", pieces * intervals_ / width_, latent_ ? kMostLatentItems : kMostItems);
    if (!latent_) require_at_most("rows of split tiles", split_rows, clusters_ * kMostSplitRowsACluster);
  }

  const PlanRequest& request_;
  const StrategyInfo& info_;
  bool ours_, latent_;
  std::int32_t group_, tile_;
  const costmodel::KernelConfig& kernel_;
  Contexts contexts_;
  std::int64_t intervals_ = 1;  ///< head intervals that read the same KV run, one a CTA
  std::int64_t width_ = 1;      ///< CTAs of a cluster
  std::int64_t clusters_ = 1;
  std::int64_t limit_ = 0;  ///< most tokens of an item
};

class FlashInferPersistent final : public Strategy {
 public:
  const StrategyInfo& info() const override {
    static const StrategyInfo kInfo{
        "flashinfer_persistent",
        "one persistent launch: items of limited length to the least loaded cluster, merged behind a grid barrier",
        "FlashInfer BatchAttention (two-class holistic plan) and its latent-attention plan",
        "published kernels take at most 65536 items (16384 with latent attention); refuses head configurations whose "
        "tile fits no kernel of the set",
        false,
        {}};
    return kInfo;
  }

  PlanResult build(const PlanRequest& request) const override {
    if (request.forest.request_count() == 0) return empty_plan(info(), request);
    return refusable([&] { return PersistentBuild(request, info()).run(); });
  }
};

}  // namespace
}  // namespace planning

const Strategy& flashinfer_persistent_strategy() {
  static const planning::FlashInferPersistent kStrategy;
  return kStrategy;
}

}  // namespace espalier::scheduler
